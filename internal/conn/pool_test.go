package conn

import (
	"bytes"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// TestPoolFits: a buffer has the room that was asked for and not much more, and the next who asks for as much gets the same one.
func TestPoolFits(t *testing.T) {
	var p pool
	for n := 1; n <= 2*LargestKept; n += 1 + n/7 {
		for _, n := range []int{n, roomy(n), roomy(n) + 1} {
			b := p.get(n)
			if cap(b) < n || cap(b) != roomy(n) || cap(b) > max(n+n/4+4, newBuffer) {
				t.Fatalf("a buffer for %d bytes has room for %d", n, cap(b))
			}
			first := &b[:1][0]
			p.put(b)
			if again := p.get(n); n <= LargestKept && &again[:1][0] != first {
				t.Fatalf("a buffer for %d bytes is not used again", n)
			}
		}
	}
}

// TestPoolTakesOthers: a buffer that was not made by the pool is given to those only whom it fits.
func TestPoolTakesOthers(t *testing.T) {
	for n := newBuffer; n <= LargestKept; n += 1 + n/7 {
		var p pool
		if p.put(make([]byte, 0, n)); p.bytes != n {
			t.Fatalf("of a buffer of %d bytes %d are kept", n, p.bytes)
		}
		for class := range classes {
			if b := p.get(sizeOf(class)); cap(b) < sizeOf(class) {
				t.Fatalf("one of %d bytes was taken for one of %d", cap(b), sizeOf(class))
			}
		}
	}
	var p pool
	p.put(make([]byte, 0, newBuffer-1))
	p.put(make([]byte, 0, LargestKept+1))
	if p.bytes != 0 {
		t.Errorf("%d bytes are kept in buffers that are too small or too large", p.bytes)
	}
}

// TestPoolGrows: what is appended is there, however often it has moved, and what it has moved from is for others.
func TestPoolGrows(t *testing.T) {
	var p pool
	var b, want []byte
	for i := range 3000 {
		more := bytes.Repeat([]byte{byte(i)}, i%97)
		b, want = p.append(b, more), append(want, more...)
		if !bytes.Equal(b, want) {
			t.Fatalf("after %d bytes it is not what was appended", len(want))
		}
	}
	if p.bytes == 0 || p.bytes > 2*cap(b) {
		t.Errorf("%d bytes are free, of one that has grown to %d", p.bytes, cap(b))
	}
}

// TestPoolIsBounded, and gives up what nobody has needed for a while, and nothing else.
func TestPoolIsBounded(t *testing.T) {
	var p pool
	const size = 64 << 10
	for range 2 * mostKeptFree / size {
		p.put(make([]byte, 0, size))
	}
	if p.bytes != mostKeptFree {
		t.Fatalf("%d bytes are kept", p.bytes)
	}
	p.trim() // all were there only since
	use := func(n int) {
		var all [][]byte
		for range n {
			all = append(all, p.get(size))
		}
		for _, b := range all {
			p.put(b)
		}
	}
	const needed = 10
	for round := range 3 {
		use(needed)
		use(1)
		if p.trim(); p.bytes != needed*size {
			t.Errorf("round %d: %d bytes are kept, of which %d were needed", round, p.bytes, needed*size)
		}
	}
	if p.trim(); p.bytes != 0 {
		t.Errorf("%d bytes are kept that nobody has needed", p.bytes)
	}
}

// TestStreamsMoveWithinThePool: what a stream carries, little in one turn and much in the next, is in buffers of the pool, which are used
// again: nothing is left to the garbage collector.
func TestStreamsMoveWithinThePool(t *testing.T) {
	s := &Set{}
	message := make([]byte, 100)
	turn := func(messages int) {
		b := s.Stream(0).Buffer(wire.RESP3)
		for range messages {
			b.Extend(append(b.Bytes(len(message)), message...))
		}
		s.endStreams(false)
	}
	const turns, most = 2000, 300
	took := testing.AllocsPerRun(1, func() { // which does it once before
		for i := range turns {
			turn(1 + i*71%most)
		}
	})
	if took > turns/100 { // what other goroutines take, as the runtime's, is counted, too
		t.Errorf("%v times memory was taken from the heap", took)
	}
}
