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
	for range 2 * Most {
		l.Give(new([2]string))
	}
	if len(l.all) != Most || !l.Check() {
		t.Errorf("%d are kept", len(l.all))
	}
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
