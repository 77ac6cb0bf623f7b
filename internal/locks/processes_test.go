package locks

import "testing"

// TestAncestorsAreKnown: of a process that is not watched for its lock, the ancestors are looked for once.
func TestAncestorsAreKnown(t *testing.T) {
	m := newManual(t)
	holder, c := m.connect(false), m.connect(false)
	holder.cmd("LOCK.ACQUIRE", "a", "LEASE", "60000", "OWNER", "x")
	m.settle()
	ask := func(owner string) {
		c.cmd("LOCK.ACQUIRE", "a", "LEASE", "1000", "ASYNC", "OWNER", owner)
		m.settle()
	}
	c.cmd("HELLO", "3")
	ask("1")
	x := m.part.Of(m.of(c))
	if x == nil || len(x.ancestors) == 0 || x.ancestors[0] == processID(&m.self) || x.process != nil || m.queued != 1 {
		t.Fatalf("what is known of it is %+v", x)
	}
	x.ancestors = x.ancestors[:0]
	if ask("2"); len(x.ancestors) != 0 || m.queued != 2 {
		t.Errorf("they are looked for again: %v", x.ancestors)
	}
}
