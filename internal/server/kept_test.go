package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/lockmgr"
)

// memory keeps rows as a file would, as text.
type memory struct {
	rows map[string]memoryRow
	n    int
	full bool
}

type memoryRow struct {
	n    int
	text []byte
}

func (m *memory) Apply(rows ...Kept) error {
	if m.rows == nil {
		m.rows = map[string]memoryRow{}
	}
	var failed error
	for _, row := range rows {
		m.n++
		switch text, err := json.Marshal(row); {
		case err != nil:
			return err
		case row.Over():
			delete(m.rows, row.Key())
		case m.full:
			failed = errors.New("it is full")
		default:
			m.rows[row.Key()] = memoryRow{m.n, text}
		}
	}
	return failed
}

func (m *memory) Read() ([]Kept, error) {
	sorted := slices.SortedFunc(maps.Values(m.rows), func(a, b memoryRow) int { return a.n - b.n })
	all := make([]Kept, len(sorted))
	for i, row := range sorted {
		if err := json.Unmarshal(row.text, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// restart ends a server and starts another with what it kept.
func restart(h *harness, change ...func(*Setup, *Options)) *harness {
	h.t.Helper()
	kept := h.setup.Keep.(*memory)
	h.stop()
	records := must(kept.Read())
	return start(h.t, append(change, func(s *Setup, _ *Options) { s.Keep, s.Kept = kept, records })...)
}

// TestKept: holds that need no connection are the same after a restart of the daemon, and end as they would have without it.
func TestKept(t *testing.T) {
	h := start(t)
	c, p, q := h.dial3(), h.client(3), h.client(0)
	p.acquire("self", "FOR", "self", "WHY", "nightly <job>", "OWNER", "x")
	c.acquire("lease", "LEASE", "3600000")
	c.acquire("nobody", "FOR", "nobody")
	shared := p.acquire("shared", "FOR", "self").token
	p.do("LOCK.DOWNGRADE", "shared", shared)
	q.acquire("shared", "FOR", "self", "JOIN", shared)
	c.acquire("shared", "SHARED", "FOR", "self")
	q.acquire("units", "FOR", "self", "LIMIT", "5", "UNITS", "2")
	c.acquire("conn")
	c.acquire("ended", "FOR", "self")
	c.do("LOCK.RELEASE", "ended")
	want := map[string]string{}
	for _, name := range []string{"self", "lease", "nobody", "shared", "units"} {
		want[name] = holdersOf(c, name)
	}

	for range 2 {
		h = restart(h)
		h.claims(7)
		c = h.dial3()
		for name, was := range want {
			if is := holdersOf(c, name); is != was {
				t.Errorf("%s was held by\n%s and is by\n%s", name, was, is)
			}
		}
		c.refused(ipc.CodeBusy, "nightly <job>", "LOCK.ACQUIRE", "self", "WAIT", "0")
	}
	for _, name := range []string{"conn", "ended"} {
		c.acquire(name)
	}
	c.do("LOCK.ACQUIRE", "units", "UNITS", "3", "WAIT", "0", "OWNER", "y")
	c.refused(ipc.CodeBusy, "", "LOCK.ACQUIRE", "units", "WAIT", "0", "OWNER", "z")

	p.kill(syscall.SIGKILL)
	_ = p.cmd.Wait()
	if g := c.acquire("self"); g.previous != "killed 9" || g.abandoned == "" {
		t.Errorf("got %+v", g)
	}
	q.end()
	_ = q.cmd.Wait()
	c.do("LOCK.RELEASE", "shared")
	if g := c.acquire("shared"); g.previous == "" {
		t.Errorf("got %+v", g)
	}
	c.do("LOCK.RELEASE", "lease", token(c, "lease"))
	c.do("LOCK.RELEASE", "nobody")
	c.close()
	h.until("all is over", func() bool { return h.held == 0 })
}

// holdersOf is what can be seen of those who hold a lock, but for their age.
func holdersOf(c *conn, name string) string {
	var b strings.Builder
	for _, holder := range c.info(name).Get("holders").Elems {
		for i := 0; i+1 < len(holder.Elems); i += 2 {
			switch key := holder.Elems[i].Str; key {
			case "age", "left", "client":
			default:
				fmt.Fprintf(&b, "%s %s\t", key, holder.Elems[i+1].Text())
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func token(c *conn, name string) string {
	return c.info(name).Get("holders").Elems[0].Get("token").Text()
}

// TestKeptOfTheDead: the hold of a process that ended while there was no daemon is over, and nobody can say how it ended.
func TestKeptOfTheDead(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.acquire("a", "FOR", "self")
	p.acquire("b", "FOR", "self")
	kept := h.setup.Keep.(*memory)
	h.stop()
	p.kill(syscall.SIGKILL)
	_ = p.cmd.Wait()
	records := must(kept.Read())
	h = start(t, func(s *Setup, _ *Options) { s.Keep, s.Kept = kept, records })
	h.claims(0)
	c := h.dial3()
	for _, name := range []string{"a", "b"} {
		if g := c.acquire(name); g.previous != "unknown" || g.abandoned != "" {
			t.Errorf("got %+v", g)
		}
	}
}

// TestKeptZombie: one that is dead and not yet reaped when the daemon starts is seen to end.
func TestKeptZombie(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.acquire("a", "FOR", "self")
	kept := h.setup.Keep.(*memory)
	h.stop()
	fd := pidfd(t, p.pid)
	p.kill(syscall.SIGKILL)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil {
		t.Fatal(err)
	}
	records := must(kept.Read())
	h = start(t, func(s *Setup, _ *Options) { s.Keep, s.Kept = kept, records })
	h.until("the hold has ended", func() bool { return h.held == 0 })
	h.claims(0)
}

// TestKeptAbandoned: that a lock was abandoned outlives the daemon until a holder is told, and again if the one that was told
// is cut off by a restart.
func TestKeptAbandoned(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.acquire("a", "FOR", "self")
	p.kill(syscall.SIGKILL)
	_ = p.cmd.Wait()
	h.until("the hold has ended", func() bool { return h.held == 0 })

	h = restart(h)
	if g := h.dial3().acquire("a"); g.abandoned == "" {
		t.Errorf("got %+v", g)
	}
	h = restart(h) // which ends that one's connection
	c := h.dial3()
	g := c.acquire("a", "FOR", "self")
	if g.abandoned == "" {
		t.Errorf("got %+v", g)
	}
	q := h.client(0)
	q.acquire("a", "FOR", "self", "JOIN", g.token)
	h = restart(h)
	c = h.dial3()
	c.do("LOCK.RELEASE", "a", g.token, "UNTOLD")
	h = restart(h)
	c = h.dial3()
	if g = c.acquire("a"); g.abandoned == "" {
		t.Errorf("got %+v", g)
	}
	c.do("LOCK.RELEASE", "a")
	h = restart(h)
	if g := h.dial3().acquire("a"); g.abandoned != "" {
		t.Errorf("got %+v", g)
	}
}

// TestKeptOperators: what is kept goes before the file of operators' holds, which may be older.
func TestKeptOperators(t *testing.T) {
	disk := newDisk[Hold]()
	h := start(t, keeping(disk))
	c := h.dial3()
	c.cmd("LOCK.ACQUIRE", "a", "FOR", "nobody")
	w := disk.next(t, 1)
	w.done(nil)
	c.granted()
	c.acquire("b", "FOR", "self")
	stale := w.rows

	h = restart(h, keeping(disk, append(stale, Hold{Name: "gone", Token: 1, Units: 1, Limit: 1, UID: 7})...))
	disk.next(t, 1).done(nil) // as it is
	h.claims(2)
	c = h.dial3()
	c.holders("gone", "", 0, 0, 0)
	c.cmd("LOCK.RELEASE", "a")
	disk.next(t, 0).done(nil)
	c.want("+OK\r\n")
}

// TestUnkept: without room, locks are what they are without a journal, it is logged once, and they are kept as soon as there is room.
func TestUnkept(t *testing.T) {
	h := start(t)
	c := h.dial3()
	kept := h.setup.Keep.(*memory)
	c.acquire("a", "FOR", "self")
	h.on(func() { kept.full = true })
	c.acquire("b", "FOR", "self")
	c.do("LOCK.RELEASE", "a")
	h.on(func() { kept.full = false })
	for kept := false; !kept; h.on(func() { kept = h.unkeptSince == 0 }) {
		c.acquire("c", "FOR", "self")
		c.do("LOCK.RELEASE", "c")
	}
	if n := strings.Count(h.log.String(), "cannot keep the locks that are held"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, h.log)
	}
	h = restart(h)
	h.claims(1)
	h.dial3().holders("b", "exclusive", 1, 1, 0)
}

// TestCheckKept: what cannot be true is noticed.
func TestCheckKept(t *testing.T) {
	good := func() Kept {
		return Kept{Lock: "a", Limit: 2, Hold: &lockmgr.Claim{
			Request: lockmgr.Request{Name: "a", Units: 1, Bind: lockmgr.ToProcess, Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 7, Start: 8}}},
			Token:   5, Entries: 1,
		}}
	}
	if err := CheckKept([]Kept{good(), good(), {Lock: "a"}, {Lock: "a", Left: &lockmgr.Owner{Label: "nobody"}}}); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Kept){
		"no name":              func(k *Kept) { k.Lock = "" },
		"a filter":             func(k *Kept) { k.Lock, k.Hold.Name = "b/#", "b/#" },
		"another name":         func(k *Kept) { k.Hold.Name = "b" },
		"no token":             func(k *Kept) { k.Hold.Token = 0 },
		"a token too high":     func(k *Kept) { k.Hold.Token = 1 << 53 },
		"no process":           func(k *Kept) { k.Hold.Owner.Process.PID = 0 },
		"a connection's":       func(k *Kept) { k.Hold.Bind = lockmgr.ToConnection },
		"bound to what":        func(k *Kept) { k.Hold.Bind = 9 },
		"an operator's":        func(k *Kept) { k.Hold.Bind = lockmgr.ToNobody },
		"too many units":       func(k *Kept) { k.Hold.Units = 3 },
		"no units":             func(k *Kept) { k.Hold.Units = 0 },
		"no limit":             func(k *Kept) { k.Limit = 0 },
		"shared with units":    func(k *Kept) { k.Hold.Mode = lockmgr.Shared },
		"a mode of its own":    func(k *Kept) { k.Hold.Mode = 7 },
		"no entries":           func(k *Kept) { k.Hold.Entries = 0 },
		"a lease alone":        func(k *Kept) { k.Hold.Lease = 5 },
		"a lease that is over": func(k *Kept) { k.Hold.Lease, k.Hold.Expires = 5, -5 },
		"a connection":         func(k *Kept) { k.Hold.Conn = 5 },
		"a request":            func(k *Kept) { k.Hold.Join = 5 },
		"not abandoned":        func(k *Kept) { k.Hold, k.Abandoned = nil, &lockmgr.End{How: lockmgr.Released} },
		"two with all of it":   func(k *Kept) { k.Hold.Owner.Process.PID, k.Hold.Token, k.Hold.Units = 9, 6, 2 },
	} {
		bad := good()
		change(&bad)
		if err := CheckKept([]Kept{good(), bad}); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
}
