package spare

import "testing"

// TestList: what is given is taken again, as if it were new, and no more are kept than may be.
func TestList(t *testing.T) {
	var l List[[2]string]
	x := l.Take()
	x[1] = "known"
	l.Give(x)
	if !l.Check() {
		t.Error("not in order after one")
	}
	if y := l.Take(); y != x || *y != [2]string{} {
		t.Errorf("took %p with %q, gave %p", y, *y, x)
	}
	if y := l.Take(); y == x {
		t.Error("one was taken twice")
	}
	for range 2 * few {
		l.Give(new([2]string))
	}
	if len(l.all) != few || !l.Check() {
		t.Errorf("%d are kept", len(l.all))
	}
}

// TestBytes: a short buffer is taken again, empty; what is longer is not kept, and a new one is no larger than it has to be.
func TestBytes(t *testing.T) {
	var b Bytes
	x := append(b.Take(3), "abc"...)
	b.Give(x)
	if cap(x) != 3 {
		t.Errorf("a new buffer of %d bytes for 3", cap(x))
	}
	if y := b.Take(2); len(y) != 0 || &y[:1][0] != &x[0] {
		t.Errorf("took %d bytes at %p, gave %p", len(y), y, x)
	}
	b.Give(x)
	if y := b.Take(4); cap(y) != 4 {
		t.Errorf("a buffer of %d bytes for 4", cap(y))
	}
	long := b.Take(Short + 1)
	if b.Give(long); cap(long) != Short+1 || len(b.all) != 0 {
		t.Errorf("a buffer of %d bytes was kept", cap(long))
	}
}

// TestStock: lists in a stock keep many, of which it knows the bytes, and it gives up what was needed by nobody since it did so before.
func TestStock(t *testing.T) {
	var s Stock
	var l List[[16]byte]
	var b Bytes
	l.KeepIn(&s)
	b.KeepIn(&s)
	want := func(when string, objects, buffers int) {
		t.Helper()
		if got := s.Bytes(); len(l.all) != objects || len(b.all) != buffers || got != objects*16+buffers*Short {
			t.Errorf("%s: %d objects, %d buffers, %d bytes", when, len(l.all), len(b.all), got)
		}
	}
	for range 2 * Most {
		l.Give(new([16]byte))
	}
	b.Give(b.Take(1))
	want("given", Most, 1)
	s.Trim()
	want("new ones", Most, 1) // since it was trimmed before all of them were given
	for range 10 {
		l.Take()
	}
	for range 4 {
		l.Give(new([16]byte))
	}
	s.Trim()
	want("ten were needed", 4, 0)
	s.Trim()
	want("none was needed", 0, 0)
	if kept := l.all[:Most]; kept[0] != nil || kept[Most-1] != nil {
		t.Error("what was given up is known still")
	}
	l.Take()
	want("taken", 0, 0)
}

// TestCheck: one that is used on, or given twice, is found.
func TestCheck(t *testing.T) {
	var used, twice List[int]
	x := new(int)
	used.Give(x)
	if *x = 1; used.Check() {
		t.Error("one that is used on is not found")
	}
	x = new(int)
	twice.Give(x)
	if twice.Give(x); twice.Check() {
		t.Error("one that was given twice is not found")
	}
}
