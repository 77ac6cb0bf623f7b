package conn_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestFiles: of messages some of which have a file beside them, what is read and what is told to be missing are all that there were, in
// order, however the socket takes them; each file comes with its own message, and is closed once nobody waits for it.
func TestFiles(t *testing.T) {
	const firstFD, messages, files = 1 << 20, 100, 5
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, func(a *account.Limits, l *conn.Limits) {
			l.Output, a[account.Files], a[account.FileBytes] = 3000, files, 1000
		})
		w.Pushes.Loss = lossOfSeveral
		o := w.connect()
		beside, published := map[int]bool{}, 0
		lost := 0
		for n := 1; n <= messages; n++ {
			if random.IntN(3) == 0 {
				o.end.SetRoom(random.IntN(2000) - 300)
			}
			b, seq := appendOf(nil, "a", n, random.IntN(300)), uint64(n)
			var f *conn.File
			if random.IntN(2) == 0 {
				f = w.NewFile(firstFD+n, uid, random.IntN(300))
				published++
			}
			sent := false
			switch {
			case o.Blocked():
			case f == nil:
				o.Send(b)
				sent = true
			default:
				var err error
				if sent, err = o.SendFile(b, f); err != nil {
					t.Fatal(err)
				}
			}
			switch {
			case sent:
			case f == nil:
				_, l := o.Enqueue(b, nil, seq, "a")
				lost += l
			default:
				_, l := o.EnqueueFile(b, f, seq, "a")
				lost += l
			}
			if f != nil {
				beside[n] = true
				f.Release()
			}
			if random.IntN(2) == 0 {
				w.settle()
			}
			if got := w.users.Of(uid).Used(account.Files); got > files {
				t.Fatalf("%d files wait", got)
			}
			found := account.Count{}
			w.Check(found)
			if err := w.users.Mismatch(found); err != nil {
				t.Fatal(err)
			}
		}
		if seed%4 == 0 {
			o.end.Close()
			w.settle()
		} else {
			o.end.SetRoom(-1)
			w.settle()
			next, told := 1, 0
			for b := o.end.Got; len(b) > 0; {
				v := b[:conn.ValueLen(b)]
				b = b[len(v):]
				if _, n, missing := lossOfSeveral(v); missing {
					next += int(n)
					told += int(n)
					continue
				}
				rest := v[len(">4\r\n$2\r\nof\r\n$1\r\na\r\n"):]
				if n, _ := conn.Head(rest); n != next {
					t.Fatalf("seed %d: got message %d, want %d", seed, n, next)
				}
				if beside[next] {
					if len(o.end.FDs) == 0 || o.end.FDs[0] != firstFD+next {
						t.Fatalf("seed %d: beside message %d comes %v", seed, next, o.end.FDs)
					}
					o.end.FDs = slices.Delete(o.end.FDs, 0, 1)
				}
				next++
			}
			if next != messages+1 || told != lost || len(o.end.FDs) > 0 {
				t.Fatalf("seed %d: %d came or were lost, told %d of %d losses, %d files too many", seed, next-1, told, lost, len(o.end.FDs))
			}
		}
		if w.kernel.Discarded != published {
			t.Fatalf("seed %d: %d files are closed of %d", seed, w.kernel.Discarded, published)
		}
	}
}

// TestFileThatCannotBeSent: a file that the kernel does not take is told to be missing, in its place, and in the protocol that was spoken
// there.
func TestFileThatCannotBeSent(t *testing.T) {
	w := newWorld(t, func(a *account.Limits, _ *conn.Limits) { a[account.Files], a[account.FileBytes] = 10, 10 })
	w.Pushes.Loss = lossOfSeveral
	o := w.connect()
	message := func(n int) []byte { return appendOf(nil, "a", n, 1) }
	o.end.SetRoom(0)
	o.Send(message(1))
	w.settle()
	f := w.NewFile(1<<20, uid, 1)
	if taken, lost := o.EnqueueFile(message(2), f, 2, "a"); !taken || lost > 0 {
		t.Error("it does not wait")
	}
	o.Enqueue(message(3), nil, 3, "a")
	o.proto2 = true
	o.Send([]byte("+now\r\n"))
	w.kernel.Unsendable = true
	o.end.SetRoom(-1)
	w.settle()
	lost := string(appendLoss(nil, wire.RESP3, "a", 1))
	if got := o.end.Take(); got != string(message(1))+lost+string(message(3))+"+now\r\n" {
		t.Errorf("got %q", got)
	}
	o.proto2 = false
	if sent, err := o.SendFile(message(4), f); sent || err == nil {
		t.Errorf("sent %v, %v", sent, err)
	}
	o.Miss("a")
	f.Release()
	w.settle()
	if got := o.end.Take(); got != lost || w.kernel.Discarded != 1 || o.dropped != 1 {
		t.Errorf("got %q, %d closed, %d dropped", got, w.kernel.Discarded, o.dropped)
	}
}

// TestFileAwaitsRoom: what lies in a socket is charged to nobody, so a file is not put to what is not read there.
func TestFileAwaitsRoom(t *testing.T) {
	w := newWorld(t, func(a *account.Limits, _ *conn.Limits) { a[account.Files], a[account.FileBytes] = 10, 10 })
	o := w.connect()
	f := w.NewFile(1<<20, uid, 1)
	o.end.SetUnread(true)
	if sent, err := o.SendFile([]byte("+1\r\n"), f); sent || err != nil || !o.Blocked() {
		t.Errorf("sent %v, %v", sent, err)
	}
	o.EnqueueFile([]byte("+1\r\n"), f, 1, "a")
	o.EnqueueFile([]byte("+2\r\n"), f, 2, "a")
	w.settle()
	if got := o.end.Take(); got != "" || len(o.end.FDs) > 0 {
		t.Errorf("got %q and %d files", got, len(o.end.FDs))
	}
	o.end.SetUnread(false)
	w.settle()
	if got := o.end.Take(); got != "+1\r\n+2\r\n" || len(o.end.FDs) != 2 {
		t.Errorf("got %q and %d files", got, len(o.end.FDs))
	}
	f.Release()
}
