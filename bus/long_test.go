package bus

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestLongNames: names and globs may be longer than topics, and match as any.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("room/", 20_000)
	b := New[int]()
	b.Verify = true
	subscribe(t, b, 1, Channel, long)
	for i, pattern := range []string{"*", long, long + "*", long[:300] + "*", "r*[/]", "*m/room*", "*" + long[300:], long[:50_000] + "?" + long[50_001:]} {
		subscribe(t, b, 10+i, Pattern, pattern)
	}
	subscribe(t, b, 2, Pattern, long+"?")
	subscribe(t, b, 2, Pattern, long[:1000]+"x*")
	subscribe(t, b, 2, Pattern, FilterPattern+"#")
	subscribe(t, b, 2, Filter, "#")
	for range 2 { // nothing of it is cached
		_, routes, err := b.Publish([]byte(long))
		if err != nil || len(routes) != 9 || len(b.last) > MaxTopic {
			t.Errorf("%d routes, %v; %d bytes are kept", len(routes), err, len(b.last))
		}
	}
	if globs, others := b.Weight(11); globs != 1+len(long)/256 || others != 0 {
		t.Errorf("weighs %d and %d", globs, others)
	}
	if globs, others := b.Weight(1); globs != 0 || others != 1+len(long)/256 {
		t.Errorf("weighs %d and %d", globs, others)
	}
	if _, _, err := b.SearchTopic([]byte(long), 1); !errors.As(err, new(*NameError)) {
		t.Error(err)
	}
	for s := range 20 {
		b.Drop(s)
	}
	assertEmpty(t, b)
}

// TestTooLong: what it takes to compare a name with all globs is bounded. A topic is always compared, and so is what few can match.
func TestTooLong(t *testing.T) {
	b := New[int]()
	for i := range 1000 {
		subscribe(t, b, 1, Pattern, fmt.Sprintf("*%d?x", i))
	}
	name := func(n int) []byte { return []byte(strings.Repeat("x", n)) }
	for _, tt := range []struct {
		name []byte
		want error
	}{
		{name(MaxTopic), nil},
		{name(maxWork / 1000), nil},
		{name(maxWork/1000 + 10), ErrTooLong},
		{[]byte(strings.Repeat("y", 100_000)), nil}, // none of the thousand ends so
		{name(MaxTopic), nil},
	} {
		before := b.Seq()
		_, routes, err := b.Publish(tt.name)
		if err != tt.want || err != nil && (routes != nil || b.Seq() != before) {
			t.Errorf("a name of %d bytes: %d routes, %v", len(tt.name), len(routes), err)
		}
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
}

// TestLongNamesBitByBit: a step compares a part of a long name with one glob, and what is found in the end is all. A glob that goes
// while the name is compared with it in part is not found, and the next one is compared from the name's beginning.
func TestLongNamesBitByBit(t *testing.T) {
	b := New[int]()
	name := []byte(strings.Repeat("x", 50_000) + "y")
	for i, pattern := range []string{"*x?", "*z*", "x*[y]", strings.Repeat("?", 100) + "*?", "*"} {
		subscribe(t, b, i, Pattern, pattern)
	}
	for gone := range 6 {
		_, rest, err := b.Search(name, 1)
		if err != nil || rest == nil {
			t.Fatal(err, rest)
		}
		for range 20 * gone {
			rest.Next(1)
		}
		b.Unsubscribe(0, Pattern, "*x?") // the second time while it is compared
		steps, found := 0, 0
		for more := true; more; steps++ {
			var routes []*Route[int]
			routes, more = rest.Next(1)
			found += len(routes)
		}
		_, all, err := b.Publish(name)
		if err != nil || found != len(all) || steps < 50_000/scanStep {
			t.Errorf("%d found in %d steps, want %d: %v", found, steps, len(all), err)
		}
		subscribe(t, b, 0, Pattern, "*x?")
	}
}

func TestCheckPattern(t *testing.T) {
	x := strings.Repeat("x", 200)
	for _, tt := range []struct {
		pattern, reason string
	}{
		{"", ""},
		{"\xff[", ""},
		{x + x + "*" + x + "*" + x + x, ""},
		{"*" + x + "[a-z]" + x[:52] + "?", ""},
		{"*" + x + "[a-z]" + x[:53] + "??" + x, "257 elements from the first wildcard to the last, at most 255"},
		{"?" + x + x + "*", "402 elements from the first wildcard to the last, at most 255"},
		{FilterPattern + "a/#", ""},
		{EnvelopePattern + "+", ""},
		{FilterPattern, "it is empty"},
		{EnvelopePattern + "a/#/b", `wildcard "#" at byte 2 is not the last level`},
	} {
		got := ""
		if err := CheckPattern(tt.pattern); err != nil {
			got = err.(*NameError).Reason
		}
		if got != tt.reason {
			t.Errorf("%.30q…: %q, want %q", tt.pattern, got, tt.reason)
		}
	}
}

// TestNoTopicIsCheap: publishing under a name that is no topic makes no error that nobody reads.
func TestNoTopicIsCheap(t *testing.T) {
	b := New[int]()
	subscribe(t, b, 1, Filter, "a/#")
	names := [][]byte{[]byte("socket.io#/#"), []byte("a\xff"), {}, []byte("a\x00"), []byte(strings.Repeat("x", 300))}
	if n := testing.AllocsPerRun(100, func() {
		for _, name := range names {
			if _, _, err := b.Publish(name); err != nil {
				t.Error(err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
