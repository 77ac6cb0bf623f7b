package list

import (
	"math/rand/v2"
	"slices"
	"testing"
)

type element struct {
	n       int
	one     Link[element]
	another Link[element]
}

func one(x *element) *Link[element]     { return &x.one }
func another(x *element) *Link[element] { return &x.another }

func elements(l *List[element], via func(*element) *Link[element]) (all []*element) {
	l.All(via, func(x *element) bool {
		all = append(all, x)
		return true
	})
	return all
}

// TestList: a list has its elements in the order in which they came to either end, whoever leaves from whatever place; and one that is in
// another list, too, is there what it was.
func TestList(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var l, other List[element]
	var want, all []*element
	for step := range 20_000 {
		switch n := random.IntN(5); {
		case n == 0:
			x := &element{n: step}
			l.Push(x, one)
			other.Push(x, another)
			want, all = append(want, x), append(all, x)
		case n == 1:
			x := &element{n: step}
			l.PushFirst(x, one)
			other.Push(x, another)
			want, all = slices.Insert(want, 0, x), append(all, x)
		case len(want) > 0:
			i := random.IntN(len(want))
			l.Remove(want[i], one)
			want = slices.Delete(want, i, i+1)
		}
		if !l.Check(one) || l.Len != len(want) || !slices.Equal(elements(&l, one), want) {
			t.Fatalf("step %d: %d elements, want %d", step, l.Len, len(want))
		}
		if len(all) > 100 {
			if !other.Check(another) || !slices.Equal(elements(&other, another), all) {
				t.Fatalf("step %d: the other list has %d elements, want %d", step, other.Len, len(all))
			}
			other, all = List[element]{}, nil
		}
	}
}

// TestAllWhileTheyLeave: the element at hand may leave, and who has seen enough sees no more.
func TestAllWhileTheyLeave(t *testing.T) {
	var l List[element]
	for i := range 10 {
		l.Push(&element{n: i}, one)
	}
	seen := 0
	l.All(one, func(x *element) bool {
		if x.n != seen {
			t.Errorf("%d comes as number %d", x.n, seen)
		}
		seen++
		l.Remove(x, one)
		return x.n < 6
	})
	if seen != 7 || l.Len != 3 || l.First.n != 7 || !l.Check(one) {
		t.Errorf("%d were seen, and %d are left", seen, l.Len)
	}
}

// TestCheck: a list that contradicts itself is found.
func TestCheck(t *testing.T) {
	for name, spoil := range map[string]func(*List[element]){
		"count":    func(l *List[element]) { l.Len++ },
		"last":     func(l *List[element]) { l.Last = l.First },
		"way back": func(l *List[element]) { l.Last.one.Prev = nil },
	} {
		var l List[element]
		for i := range 3 {
			l.Push(&element{n: i}, one)
		}
		if spoil(&l); l.Check(one) {
			t.Errorf("%s: not found", name)
		}
	}
}
