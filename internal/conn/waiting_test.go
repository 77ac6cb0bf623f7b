package conn_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
)

// waiting is how many replies and messages wait for a peer.
func (o *owner) waiting() int {
	for {
		if n, done := o.CountWaiting(); done {
			return n
		}
	}
}

// TestWaiting: at any moment there wait as many replies and messages as a peer was sent and has not been written as a whole, whatever they
// wait in and wherever the socket was full: also if somebody had asked for it before.
func TestWaiting(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newRuledWorld(t, 8<<20)
		o := w.connect()
		if seed%2 == 0 {
			o.SetRule("a", conn.Rule{Messages: 1 << 20})
		}
		sent, read, part, asks := 0, 0, "", seed%3 > 0
		take := func() {
			part += o.end.Take()
			n, at := whole([]byte(part))
			read, part = read+n, part[at:]
		}
		o.end.SetRoom(0)
		o.Send([]byte("+first\r\n"))
		sent++
		w.turn()
		for seq := uint64(1); seq < 120; seq++ {
			switch random.IntN(8) {
			case 0:
				some := 1 + random.IntN(400)
				sent += some
				o.Send([]byte(strings.Repeat(":1\r\n", some)))
			case 1:
				o.EnqueueStrict(appendAbout("a", 1, int(seq), "t", random.IntN(100)), nil, seq)
				sent++
			case 2:
				if seq > 100 {
					break
				}
				o.end.SetRoom(random.IntN(3000))
				w.turn()
				o.end.SetRoom(0)
			default:
				o.Enqueue(appendAbout("a", 1, int(seq), "t", random.IntN(3000)), nil, seq, "a")
				sent++
			}
			w.turn()
			if !o.Blocked() {
				o.Send([]byte(":1\r\n"))
				sent++
				w.turn()
			}
			if !asks && seq < 119 {
				continue
			}
			take()
			if n, want := o.waiting(), sent-read; n != want {
				t.Fatalf("seed %d, at %d: %d wait, not %d", seed, seq, n, want)
			}
		}
		o.end.SetRoom(-1)
		w.settle()
		take()
		if n := o.waiting(); n != 0 || read != sent || part != "" {
			t.Fatalf("seed %d: %d wait when all is read, %d of %d values", seed, n, read, sent)
		}
	}
}

// whole is how many values there are as a whole, and in how many bytes.
func whole(got []byte) (n, at int) {
	for {
		size, ok := wholeValue(got[at:])
		if !ok {
			return n, at
		}
		n, at = n+1, at+size
	}
}

// wholeValue is the length of a value of which not all may be there.
func wholeValue(b []byte) (n int, ok bool) {
	defer func() {
		if recover() != nil { // it ends within a line
			ok = false
		}
	}()
	n = conn.ValueLen(b)
	return n, n <= len(b)
}

// TestWaitingIsCountedBitByBit: very many that wait are not counted at once, but they are in the end, even if as many as are counted
// come each time.
func TestWaitingIsCountedBitByBit(t *testing.T) {
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = 64 << 20 })
	o := w.connect()
	o.end.SetRoom(3)
	const many = 100_000
	o.Send([]byte(strings.Repeat("+x\r\n", many)))
	w.turn()
	seq, come := uint64(0), 0
	for asked := 1; ; asked++ {
		n, done := o.CountWaiting()
		if done {
			if n != many+come || asked < 100 {
				t.Errorf("asked %d times, %d wait, not %d", asked, n, many+come)
			}
			break
		}
		if n > come+200*asked {
			t.Fatalf("asked %d times, it has counted %d", asked, n)
		}
		if asked > many {
			t.Fatal("there is no end to it")
		}
		for range 200 {
			seq++
			o.Enqueue([]byte(fmt.Sprintf("+%d\r\n", seq)), nil, seq, "a")
			if come++; come > 1_000_000 {
				t.Fatal("there is no end to it")
			}
		}
	}
}
