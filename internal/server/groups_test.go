package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ipcd/ipcd/internal/cgroup"
	"github.com/ipcd/ipcd/ipc/wire"
)

// What a cgroup shows of itself that its hold depends on is what any directory shows: its number, its owner, a file that goes with it. So
// these tests need no hierarchy, which only root could make one in; test/script and test/systemd have real ones.

// groupsIn has a directory be taken for the hierarchy, until the test ends.
func groupsIn(t *testing.T, dir string) {
	was := cgroup.Root
	cgroup.Root = func() string { return dir }
	t.Cleanup(func() { cgroup.Root = was })
}

// A testGroup is a directory that is taken for a cgroup, in which nothing runs.
type testGroup struct {
	t   *testing.T
	dir string
}

func newTestGroup(t *testing.T, dir string) testGroup {
	t.Helper()
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return testGroup{t, dir}
}

func (g testGroup) remove() {
	g.t.Helper()
	for _, path := range []string{filepath.Join(g.dir, "cgroup.procs"), g.dir} {
		if err := os.Remove(path); err != nil {
			g.t.Fatal(err)
		}
	}
}

// renew puts another group in the place of this one, which has another number.
func (g testGroup) renew() {
	g.t.Helper()
	other := newTestGroup(g.t, g.dir+".other") // while this one is there, so that the file system cannot give its number again
	g.remove()
	if err := os.Rename(other.dir, g.dir); err != nil {
		g.t.Fatal(err)
	}
}

// TestGroup: a cgroup holds a lock until it is removed, not until it is empty, and over a restart of the daemon.
func TestGroup(t *testing.T) {
	dir := t.TempDir()
	groupsIn(t, dir)
	group := newTestGroup(t, filepath.Join(dir, "a.service"))
	h := start(t)
	token := h.dial3().acquire("x", "FOR", "/a.service").token
	h = restart(h)
	c, next := h.dial3(), h.dial3()
	if is := c.info("x").Get("holders").Elems; len(is) != 1 || is[0].Get("token").Text() != token || is[0].Get("bound").Str != "cgroup" {
		t.Fatalf("it is held by %+v", is)
	}
	if bound := h.dial3().follow("x", token).Get("bound").Str; bound != "cgroup" {
		t.Errorf("who follows it is told that it is bound to a %s", bound)
	}
	h.queue(next, "x")
	group.remove()
	if g := next.granted(); g.previous != "unknown" {
		t.Errorf("the hold before is told to have ended so: %q", g.previous)
	}
}

// TestGroupOfReusedName: another cgroup of the same path is another one, whether the daemon saw the first of them removed or not.
func TestGroupOfReusedName(t *testing.T) {
	dir := t.TempDir()
	groupsIn(t, dir)
	group := newTestGroup(t, filepath.Join(dir, "a.service"))
	h := start(t)
	h.dial3().acquire("x", "FOR", "/a.service")
	h.stop()
	group.renew()
	h = restart(h)
	c, next := h.dial3(), h.dial3()
	if is := c.info("x").Get("holders").Elems; len(is) != 0 {
		t.Fatalf("it is held by %q", is[0].Get("owner").Str)
	}
	first := c.acquire("x", "FOR", "/a.service")
	if first.previous != "unknown" {
		t.Errorf("the hold before is told to have ended so: %q", first.previous)
	}
	h.queue(next, "x")
	h.on(func() { // so that the command is read before anybody has told of what was removed
		c.cmd("LOCK.ACQUIRE", "x", "FOR", "/a.service")
		group.renew()
	})
	if g := next.granted(); g.previous != "unknown" {
		t.Errorf("the hold before is told to have ended so: %q", g.previous)
	}
	c.quiet() // it does not hold the lock already
	next.do("LOCK.RELEASE", "x")
	c.granted()
}

// TestGroupBelowAnother: a cgroup is seen to end also if the one above it was removed and made anew, and nobody has told of that yet. Those
// that were in the one before have ended.
func TestGroupBelowAnother(t *testing.T) {
	dir := t.TempDir()
	groupsIn(t, dir)
	above := newTestGroup(t, filepath.Join(dir, "a.slice"))
	one, another := newTestGroup(t, filepath.Join(above.dir, "b.service")), newTestGroup(t, filepath.Join(above.dir, "c.service"))
	h := start(t)
	c, next := h.dial3(), h.dial3()
	c.acquire("x", "FOR", "/a.slice/b.service")
	c.acquire("y", "FOR", "/a.slice/c.service")
	h.on(func() { // so that the command is read before anybody has told of what was removed
		c.cmd("LOCK.ACQUIRE", "x", "FOR", "/a.slice/b.service")
		other := newTestGroup(t, above.dir+".other")
		newTestGroup(t, filepath.Join(other.dir, "b.service"))
		one.remove()
		another.remove()
		above.remove()
		if err := os.Rename(other.dir, above.dir); err != nil {
			t.Error(err)
		}
	})
	if g := c.granted(); g.previous != "unknown" {
		t.Errorf("the hold before is told to have ended so: %q", g.previous)
	}
	if g := c.acquire("y"); g.previous != "unknown" {
		t.Errorf("the hold of the other is told to have ended so: %q", g.previous)
	}
	h.queue(next, "x")
	one.remove()
	if g := next.granted(); g.previous != "unknown" {
		t.Errorf("the hold before is told to have ended so: %q", g.previous)
	}
}

// TestGroupUnseen: a cgroup that the daemon cannot see after a restart, as none is mounted where it runs, has not ended.
func TestGroupUnseen(t *testing.T) {
	dir := t.TempDir()
	groupsIn(t, dir)
	group := newTestGroup(t, filepath.Join(dir, "a.service"))
	h := start(t)
	h.dial3().acquire("x", "FOR", "/a.service")
	h.stop()
	cgroup.Root = func() string { return "" }
	h = restart(h)
	c := h.dial3()
	c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "x", "WAIT", "0")
	c.refused(wire.CodeNotFound, "not mounted", "LOCK.ACQUIRE", "y", "FOR", "/a.service")
	h.on(func() { cgroup.Root = func() string { return dir } })
	group.remove()
	if g := c.acquire("x"); g.previous != "unknown" {
		t.Errorf("got %+v", g)
	}
}

// TestGroupOfOthers: who is neither in a cgroup nor owns it may not hold for it.
func TestGroupOfOthers(t *testing.T) {
	groupsIn(t, "/") // whose directories are root's
	h := start(t)
	var who []func(*exec.Cmd)
	if os.Getuid() == 0 {
		who = append(who, as(4322))
	}
	h.client(0, who...).refused(wire.CodeDenied, `is not in cgroup "/usr"`, "LOCK.ACQUIRE", "x", "FOR", "/usr")
}
