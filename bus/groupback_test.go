package bus

import (
	"math"
	"slices"
	"strconv"
	"testing"
)

// TestManyGroupsOfOneMember: who is a member of very many groups, for all of which messages wait, comes back to as many of them as there are
// messages that he takes, when he can take some; and the groups have their turns.
func TestManyGroupsOfOneMember(t *testing.T) {
	const many, window = 1000, 5
	room := window
	g := Groups[int, int]{Verify: true, MostQueued: 10, MostBytes: 1000, Takes: func(int) bool { return room > 0 }}
	for i := range many {
		g.Verify = i%100 == 0 // it takes long
		if _, err := g.Join(1, Sharing{"a", strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	next := func() (steps int) {
		for more := true; more; steps++ {
			var given Given[int, int]
			var ok bool
			if given, ok, more = g.Next(); ok {
				got, room = append(got, given.Of.Group), room-1
			}
		}
		return steps
	}
	found, _ := g.Search([]byte("a"), math.MaxInt)
	for _, group := range slices.Clone(found) {
		g.Put(group, 1, 1)
		next()
	}
	for len(got) < many {
		g.Verify = len(got)%100 == 0
		before := len(got)
		room = window
		g.Sent(1, g.Unsent(1))
		g.Free(1)
		if steps := next(); steps > 3*window || len(got)-before != min(window, many-before) {
			t.Fatalf("%d are given in %d steps", len(got)-before, steps)
		}
	}
	for i, group := range got {
		if group != strconv.Itoa(i) {
			t.Fatalf("number %d is given by group %s", i, group)
		}
	}
	g.Verify = true
	if _, more := g.Drop(1, many); more || g.takers.len()+g.members.len()+g.pools.all.len()+g.ready.Len != 0 {
		t.Error("something is left")
	}
}

// TestBackIsTold: of each group to which a member comes back it is told, also if nothing waits there: when he is free again, and when he says
// that he takes more.
func TestBackIsTold(t *testing.T) {
	var told []Sharing
	g := Groups[int, int]{Verify: true, Back: func(group *Group[int, int]) { told = append(told, group.of) }} // in which nothing may wait
	next := func() {
		for more := true; more; {
			_, _, more = g.Next()
		}
	}
	put := func() {
		found, _ := g.Search([]byte("a"), math.MaxInt)
		for _, group := range slices.Clone(found) {
			if taken, _ := g.Put(group, 1, 1); taken {
				next()
			}
		}
	}
	all := []Sharing{{"a", "g"}, {"a", "h"}, {"+", "g"}}
	for _, of := range all {
		if _, err := g.Join(1, of); err != nil {
			t.Fatal(err)
		}
	}
	g.Take(1, all[1], 0)
	g.Busy(1)
	if put(); len(told) > 0 || g.Lost() != 3 {
		t.Fatalf("%d are lost, and somebody comes back to %s", g.Lost(), told)
	}
	g.Free(1)
	if next(); !slices.Equal(told, []Sharing{all[0], all[2]}) {
		t.Errorf("who is free comes back to %s", told)
	}
	told = nil
	if g.Take(1, all[1], 1); !slices.Equal(told, all[1:2]) {
		t.Errorf("who takes more comes back to %s", told)
	}
}
