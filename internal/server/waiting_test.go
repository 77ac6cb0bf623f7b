package server

import (
	"fmt"
	"strings"
	"testing"
)

// TestListTellsHowMuchWaits: CLIENT LIST tells of who does not read how many messages he will be given when he does, also if that are so
// many that they are counted in several steps; and of whoever reads none.
func TestListTellsHowMuchWaits(t *testing.T) {
	m := newManual(t, 1)
	slow, other, publisher := m.connect(true), m.connect(false), m.connect(false)
	for name, e := range map[string]*end{"slow": slow, "other": other} {
		e.cmd("HELLO", "3", "SETNAME", name)
		e.cmd("BUS.SUB", "a")
	}
	m.settle()
	slow.take()
	const messages = 3000
	for i := range messages {
		publisher.cmd("BUS.PUB", "a", fmt.Sprint(i, strings.Repeat("x", 100)))
	}
	for m.step() || len(publisher.pending) > 0 {
		publisher.send()
		publisher.read(64 << 10)
		other.read(64 << 10)
	}
	for m.of(other).Blocked() {
		other.read(64 << 10)
		m.step()
	}
	publisher.take()
	publisher.cmd("CLIENT", "LIST")
	for m.step() {
		publisher.read(64 << 10)
	}
	list := publisher.take()
	waiting := func(name string) (n int) {
		line, _, _ := strings.Cut(list[max(strings.Index(list, "name="+name), 0):], "\n")
		_, rest, _ := strings.Cut(line, " oll=")
		if _, err := fmt.Sscan(rest, &n); err != nil {
			t.Fatalf("%s: %s", name, line)
		}
		return n
	}
	if n := waiting("other"); n != 0 {
		t.Errorf("%d wait for who reads", n)
	}
	told, in := waiting("slow"), m.of(slow).Unread()
	m.settle()
	got := slow.take()
	// What waited is the end of what has come by now, with the message that was written in part.
	if begun := strings.Count(got[len(got)-in:], "bus.message"); told < messages/2 || told != begun && told != begun+1 {
		t.Errorf("%d are told to wait, of which %d begin in the last %d bytes of %d", told, begun, in, len(got))
	}
}
