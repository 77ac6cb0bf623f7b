package bus

import (
	"fmt"
	"slices"
	"testing"
)

// TestSubsAt: who delivers a message later finds those who were subscribed when it was published, and still are.
func TestSubsAt(t *testing.T) {
	b := New[int]()
	b.Verify = true
	for s := range 5 {
		b.subscribe(t, s, Filter, "a/#")
	}
	age := b.Age()
	r := b.Route(Filter, "a/#")
	b.subscribe(t, 5, Filter, "a/#")
	b.Unsubscribe(1, Filter, "a/#")
	b.Unsubscribe(3, Filter, "a/#")
	b.subscribe(t, 3, Filter, "a/#")
	at := func(age uint64) []int {
		subs, _ := r.SubsBetween(0, age)
		return subs
	}
	if got, want := at(age), []int{0, 2, 4}; !slices.Equal(got, want) {
		t.Errorf("subscribed were %v, want %v", got, want)
	}
	if got, want := at(b.Age()), []int{0, 2, 4, 5, 3}; !slices.Equal(got, want) {
		t.Errorf("subscribed are %v, want %v", got, want)
	}
	if got, first := r.SubsBetween(age, b.Age()); !slices.Equal(got, r.Subs()[first:]) {
		t.Errorf("since then %v, from place %d", got, first)
	}
	for place := range r.Subs() { // who goes on behind one finds those behind it
		if got, first := r.SubsBetween(r.AgeAt(place), b.Age()); first != place+1 || !slices.Equal(got, r.Subs()[place+1:]) {
			t.Errorf("behind place %d are %v, from place %d", place, got, first)
		}
	}
	for s := range 6 {
		b.Drop(s)
	}
	if got := at(age); len(got) > 0 {
		t.Errorf("of a route that is gone there are %v", got)
	}
}

// TestMayReceive: nothing is said not to come that Publish would give, and little more to come than that.
func TestMayReceive(t *testing.T) {
	b := New[int]()
	subscriptions := []struct {
		k    Kind
		text string
	}{{Channel, "a/b"}, {Pattern, "a/*"}, {Filter, "a/b"}, {Filter, "+/b"}, {Filter, "a/#"}, {Filter, "#"}}
	for s, x := range subscriptions {
		b.subscribe(t, s, x.k, x.text)
	}
	for _, topic := range []string{"a/b", "a/c", "b", "b/b", "ipcd/lock"} {
		_, routes, err := b.Publish([]byte(topic))
		if err != nil {
			t.Fatal(err)
		}
		again, _ := b.Routes([]byte(topic))
		if !slices.Equal(routes, again) {
			t.Errorf("%s takes %v, and then %v", topic, routes, again)
		}
		for s, x := range subscriptions {
			budget := 1
			want := slices.ContainsFunc(routes, func(r *Route[int]) bool { return slices.Contains(r.Subs(), s) })
			if got := b.MayReceive(s, []byte(topic), &budget); got != want {
				t.Errorf("%s may come by %s %q: %v", topic, x.k, x.text, got)
			}
		}
	}
	if b.Seq() != 5 {
		t.Errorf("%d messages are counted", b.Seq())
	}
	for i := range 10 {
		b.subscribe(t, 9, Filter, fmt.Sprint("c/", i))
	}
	for budget, want := range map[int]bool{9: true, 10: false} {
		if got := b.MayReceive(9, []byte("d"), &budget); got != want {
			t.Errorf("with ten subscriptions and fewer looked at: %v", got)
		}
	}
}

func (b *Bus[S]) subscribe(t *testing.T, s S, k Kind, text string) {
	t.Helper()
	if _, _, err := b.Subscribe(s, k, text); err != nil {
		t.Fatal(err)
	}
}
