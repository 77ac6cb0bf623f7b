package bus

import (
	"fmt"
	"slices"
	"testing"
)

// TestRequestsAreBounded: one that would go to too many is refused, and changes nothing.
func TestRequestsAreBounded(t *testing.T) {
	r := Requests[int, int]{Verify: true}
	serve := func(s int) {
		if _, err := r.Serve(s, Sharing{Filter: "a"}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for s := range MostAsked {
		serve(s)
	}
	id, err := r.Ask(Ask[int, int]{Topic: "a", Replies: AllReplies})
	if n := len(r.Effects()); err != nil || n != MostAsked {
		t.Fatalf("%v, %d effects", err, n)
	}
	r.Cancel(0, id)
	r.Effects()
	serve(MostAsked)
	if _, err := r.Ask(Ask[int, int]{Topic: "a", Replies: 2, Until: 1}); err != ErrTooMany || r.Len() > 0 || len(r.Effects()) > 0 {
		t.Errorf("one more: %v", err)
	}
	if _, err := r.Ask(Ask[int, int]{Topic: "a"}); err != nil {
		t.Errorf("one of them: %v", err)
	}
}

// TestServicesOfOneTopicAreBounded: of how many filters and groups a topic is served decides what a request costs, though it asks for one
// answer. If they are too many it is refused, and changes nothing.
func TestServicesOfOneTopicAreBounded(t *testing.T) {
	r := Requests[int, int]{Verify: true}
	serve := func(filter string, group int) {
		t.Helper()
		if _, err := r.Serve(1, Sharing{filter, fmt.Sprint("g", group)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range MostAsked - 1 {
		serve("a", i)
	}
	serve("+", 0)
	if id, err := r.Ask(Ask[int, int]{Topic: "a"}); err != nil || len(r.Effects()) != 1 || !r.Cancel(0, id) {
		t.Fatalf("of as many as may be: %v", err)
	}
	r.Effects()
	serve("+", 1)
	for replies := range 3 {
		if _, err := r.Ask(Ask[int, int]{Topic: "a", Replies: replies, Until: 1}); err != ErrTooMany || r.Len() > 0 || len(r.Effects()) > 0 {
			t.Errorf("one more, for %d answers: %v", replies, err)
		}
	}
	if _, err := r.Ask(Ask[int, int]{Topic: "b"}); err != nil {
		t.Errorf("of another topic: %v", err)
	}
}

// TestPassingOverIsBounded: so many who do not take a request are passed over at most, be it asked the first time or again, and in each group
// the first is looked at. If none of these takes it, it is as if nobody did.
func TestPassingOverIsBounded(t *testing.T) {
	const many, groups = 3 * MostAsked, 2
	looked, takes := 0, map[int]bool{}
	r := Requests[int, int]{Verify: true, Takes: func(s, _ int) bool { looked++; return takes[s] }}
	for s := range many {
		for group := range groups {
			if _, err := r.Serve(s, Sharing{"a", fmt.Sprint(group)}, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask := func(what string, a Ask[int, int], want ...string) {
		t.Helper()
		looked, a.Topic, a.Asker = 0, "a", -1
		var got []string
		if _, err := r.Ask(a); err != nil {
			got = append(got, fmt.Sprintf("%T", err))
		}
		for _, e := range r.Effects() {
			got = append(got, fmt.Sprint(e.Kind, " ", e.Responder))
		}
		if !slices.Equal(got, want) || looked > MostAsked+groups {
			t.Errorf("%s: %d were looked at, and %q, want %q", what, looked, got, want)
		}
	}
	takes[many-1] = true
	ask("who takes it is the last of very many", Ask[int, int]{}, "*bus.FullError[int]")
	ask("in each group, too", Ask[int, int]{Replies: 2}, "*bus.FullError[int]")
	const one, another = MostAsked/2 - 2, MostAsked/2 - 1
	takes[one] = true
	ask("one behind half as many in each group", Ask[int, int]{Replies: 2}, fmt.Sprint("sent ", one), "passed 0")
	takes[one], takes[another] = false, true
	ask("another one", Ask[int, int]{Repeatable: true}, fmt.Sprint("sent ", another))
	looked, takes[another] = 0, false
	if r.Drop(another, many); looked > MostAsked+1 {
		t.Errorf("when the responder goes, %d are looked at", looked)
	}
}
