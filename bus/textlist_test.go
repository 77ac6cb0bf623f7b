package bus

import (
	"fmt"
	"slices"
	"testing"
)

// TestTextList: the texts of a kind come in order, also while each that came is ended, and no call looks at more subscriptions than it may.
func TestTextList(t *testing.T) {
	for most := 1; most <= 5; most++ {
		b := New[int]()
		for i := range 30 {
			subscribe(t, b, 1, Filter, fmt.Sprintf("f/%d/#", i))
			subscribe(t, b, 2, Channel, fmt.Sprint("c/", i)) // of another
			if i%7 == 0 {
				subscribe(t, b, 1, Channel, fmt.Sprint("c/", i))
			}
		}
		want, all := b.Texts(1, Channel), b.Count(1)
		var got []string
		calls, last := 0, 0
		for l, more := b.List(1, Channel), true; more; calls++ {
			var text string
			var found bool
			if text, found, more = l.Next(most); found {
				got = append(got, text)
				last = calls
				b.Unsubscribe(1, Channel, text)
			}
		}
		if !slices.Equal(got, want) || b.Count(1, Channel) != 0 {
			t.Errorf("%d at once: %q, want %q", most, got, want)
		}
		if least := (all - 1) / most; last < len(want)-1 || calls < least/2 || most == 1 && calls < all {
			t.Errorf("%d at once: %d calls for %d subscriptions", most, calls, all)
		}
	}
	if text, found, more := New[int]().List(1, Filter).Next(1); found || more {
		t.Errorf("nobody has %q", text)
	}
}

// TestTextListEnds when subscriptions end that it has not come to, and does not go on among another's.
func TestTextListEnds(t *testing.T) {
	b := New[int]()
	for _, text := range []string{"a", "b", "c"} {
		subscribe(t, b, 1, Channel, text)
	}
	l := b.List(1, Channel)
	if text, _, more := l.Next(1); text != "a" || !more {
		t.Fatalf("the first is %q", text)
	}
	b.Drop(1)
	subscribe(t, b, 2, Channel, "b")
	subscribe(t, b, 2, Channel, "d")
	if text, found, more := l.Next(9); found || more {
		t.Errorf("it goes on with %q", text)
	}
}
