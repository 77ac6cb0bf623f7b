package bus

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// TestByText compares it with a map, while it grows and shrinks: each text is found where it is, slots are used again, no bucket becomes
// long, and what there is of the last is nothing.
func TestByText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	b := New[int]()
	want, used := map[string]int{}, map[int]bool{} // slots
	most, longest := 0, 0
	for step := range 60_000 {
		text := fmt.Sprint(random.IntN(4000))
		grow := 3 // of four changes are of this kind
		if step/10_000%2 == 1 {
			grow = 1
		}
		slot, there := want[text]
		switch add := random.IntN(4) < grow; {
		case add && !there:
			r := &Route[int]{Kind: Channel, Text: text}
			r.Slot = b.texts.add(r)
			if used[r.Slot] {
				t.Fatalf("slot %d is in use", r.Slot)
			}
			used[r.Slot], want[text] = true, r.Slot
		case !add && there:
			b.texts.remove(b.RouteAt(slot))
			delete(used, slot)
			delete(want, text)
		}
		most = max(most, len(want))
		slot, there = want[text]
		if r := b.find(Channel, text); (r != nil) != there || there && r.Slot != slot {
			t.Fatalf("step %d: %q is %v, want slot %d: %v", step, text, r, slot, there)
		}
		if b.findName(Filter, []byte(text)) != nil {
			t.Fatalf("step %d: %q is of another kind", step, text)
		}
		if b.texts.places.heads.Len() != perThing*len(want) || b.texts.count[Channel] != len(want) {
			t.Fatalf("step %d: %d buckets for %d", step, b.texts.places.heads.Len(), len(want))
		}
		if step%1000 == 0 {
			longest = max(longest, longestBucket(t, &b.texts.places, b.texts.link))
			for text, slot := range want {
				if r := b.findName(Channel, []byte(text)); r == nil || r.Slot != slot {
					t.Fatalf("step %d: %q is %v, want slot %d", step, text, r, slot)
				}
			}
		}
	}
	if most < 2000 || b.texts.slots.Len() > most {
		t.Errorf("%d at most, in %d slots", most, b.texts.slots.Len())
	}
	if longest > 12 {
		t.Errorf("%d are in one bucket", longest)
	}
	for _, slot := range want {
		b.texts.remove(b.RouteAt(slot))
	}
	if !reflect.DeepEqual(b.texts, byText[int]{}) {
		t.Error("something is left of an empty one")
	}
}

// longestBucket is how many are in the bucket that has the most. All must be where they belong.
func longestBucket(t *testing.T, x *buckets, links func(int32) *link) (longest int) {
	t.Helper()
	all := 0
	for i := range x.heads.Len() {
		n := 0
		for at := *x.heads.At(i); at > 0; n++ {
			l := links(at)
			if x.of(l.hash) != i {
				t.Fatalf("thing %d is in bucket %d", at, i)
			}
			at = l.next
		}
		longest = max(longest, n)
		all += n
	}
	if all*perThing != x.heads.Len() {
		t.Fatalf("%d are in %d buckets", all, x.heads.Len())
	}
	return longest
}
