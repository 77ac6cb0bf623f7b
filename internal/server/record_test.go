package server

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/journal"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// memory keeps records as a journal does, as text. When it is full there is room for nothing but what is over.
type memory struct {
	mu    sync.Mutex
	lines map[string]string // of what there is beside itself
	whole bool              // it says that it is complete
	full  bool
	tight error
	steps int
	most  int             // records in one step
	after func(m *memory) // called after each step that was kept
}

func (m *memory) Apply(records ...record.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lines == nil {
		m.lines = map[string]string{}
	}
	var err error
	for _, is := range records {
		switch {
		case is.Over():
			delete(m.lines, is.Key())
			m.whole = m.whole && is.Kind != record.KindComplete
		case m.full:
			err = errors.New("it is full")
		case is.Kind == record.KindComplete:
			m.whole = true
		default:
			m.lines[is.Key()] = string(is.Append(nil))
		}
	}
	m.steps++
	m.most = max(m.most, len(records))
	if m.after != nil && err == nil {
		m.after(m)
	}
	return err
}

func (m *memory) Room() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tight
}

func (m *memory) Read() ([]record.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.read()
}

func (m *memory) read() ([]record.Record, error) {
	all := make([]record.Record, len(m.lines))
	for i, key := range slices.Sorted(maps.Keys(m.lines)) {
		var err error
		if all[i], err = record.Decode([]byte(m.lines[key])); err != nil {
			return nil, err
		}
	}
	if m.whole {
		all = append(all, record.Of(&record.Complete{}))
	}
	return all, nil
}

// restart ends a server and starts another with what it kept.
func restart(h *harness, change ...func(*Setup, *Options)) *harness {
	h.t.Helper()
	kept := h.setup.Journal.(*memory)
	h.stop()
	records := must(kept.Read())
	return start(h.t, append(change, func(s *Setup, _ *Options) { s.Journal, s.Records = kept, records })...)
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
		c.refused(wire.CodeBusy, "nightly <job>", "LOCK.ACQUIRE", "self", "WAIT", "0")
	}
	for _, name := range []string{"conn", "ended"} {
		c.acquire(name)
	}
	c.do("LOCK.ACQUIRE", "units", "UNITS", "3", "WAIT", "0", "OWNER", "y")
	c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "units", "WAIT", "0", "OWNER", "z")

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
	h.until("all is over", func() bool { return h.figures().Held == 0 })
}

// holdersOf is what can be seen of those who hold a lock, but for their age.
func holdersOf(c *client, name string) string {
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

func token(c *client, name string) string {
	return c.info(name).Get("holders").Elems[0].Get("token").Text()
}

// TestKeptOfTheDead: the hold of a process that ended while there was no daemon is over, and nobody can say how it ended.
func TestKeptOfTheDead(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.acquire("a", "FOR", "self")
	p.acquire("b", "FOR", "self")
	kept := h.setup.Journal.(*memory)
	h.stop()
	p.kill(syscall.SIGKILL)
	_ = p.cmd.Wait()
	records := must(kept.Read())
	h = start(t, func(s *Setup, _ *Options) { s.Journal, s.Records = kept, records })
	h.claims(0)
	c := h.dial3()
	for _, name := range []string{"a", "b"} {
		if g := c.acquire(name); g.previous != "unknown" || g.abandoned != "" {
			t.Errorf("got %+v", g)
		}
	}
}

// TestKeptOfAThread: the hold of a process whose number a thread of another one has by now is over.
func TestKeptOfAThread(t *testing.T) {
	tid, done := make(chan int), make(chan struct{})
	defer close(done)
	for range 2 { // one of the two is not the first thread
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tid <- unix.Gettid()
			<-done
		}()
	}
	thread := <-tid
	if other := <-tid; thread == os.Getpid() {
		thread = other
	}
	hold := record.Of(record.NewHold(lockmgr.Claim{
		Request: lockmgr.Request{
			Name: "a", Units: 1, Bind: lockmgr.ToProcess, Owner: lockmgr.Owner{Process: lockmgr.Process{PID: thread, Start: 1}},
		},
		ID: 1, Token: 1, Entries: 1,
	}, 1, nil))
	h := start(t, func(s *Setup, _ *Options) { s.Records = []record.Record{hold} })
	h.claims(0)
}

// TestKeptZombie: one that is dead and not yet reaped when the daemon starts is seen to end.
func TestKeptZombie(t *testing.T) {
	h := start(t)
	p := h.client(0)
	p.acquire("a", "FOR", "self")
	kept := h.setup.Journal.(*memory)
	h.stop()
	fd := pidfd(t, p.pid)
	p.kill(syscall.SIGKILL)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil {
		t.Fatal(err)
	}
	records := must(kept.Read())
	h = start(t, func(s *Setup, _ *Options) { s.Journal, s.Records = kept, records })
	h.until("the hold has ended", func() bool { return h.figures().Held == 0 })
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
	h.until("the hold has ended", func() bool { return h.figures().Held == 0 })

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
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk))
	c := h.dial3()
	c.cmd("LOCK.ACQUIRE", "a", "FOR", "nobody")
	w := disk.next(t, 1)
	w.done(nil)
	c.granted()
	c.acquire("b", "FOR", "self")
	stale := w.rows

	h = restart(h, keeping(disk, append(stale, record.OperatorHold{Name: "gone", Token: 1, Units: 1, Limit: 1, UID: 7})...))
	disk.next(t, 1).done(nil) // as it is
	h.claims(2)
	c = h.dial3()
	c.holders("gone", "", 0, 0, 0)
	c.cmd("LOCK.RELEASE", "a")
	disk.next(t, 0).done(nil)
	c.want("+OK\r\n")
}

// TestKeptOperatorsIncompletely: a journal that has not all that was held says so, and what it lacks of the operators' holds is taken from
// their file: also if the first start after a boot was cut short, or found no room. What has no room later does not cost a hold either.
func TestKeptOperatorsIncompletely(t *testing.T) {
	uid := uint32(os.Getuid())
	line := func(name string, token uint64) record.OperatorHold {
		return record.OperatorHold{Name: name, Token: token, Units: 1, Limit: 1, UID: uid, Since: 1}
	}
	disk := newDisk[record.OperatorHold]()
	held := func(h *harness, names ...string) {
		t.Helper()
		h.claims(len(names))
		c := h.dial3()
		for _, name := range names {
			c.holders(name, "exclusive", 1, 1, 0)
		}
	}

	// It was made, and nothing written to it.
	kept := &memory{}
	h := start(t, keeping(disk, line("a", 5), line("b", 6)), func(s *Setup, _ *Options) { s.Journal, s.Records = kept, []record.Record{} })
	disk.next(t, 2).done(nil)
	held(h, "a", "b")

	// There was no room for anything, and later for some of it.
	h.stop()
	kept = &memory{full: true}
	h = start(t, keeping(disk, line("a", 5), line("b", 6)), func(s *Setup, _ *Options) { s.Journal = kept })
	held(h, "a", "b")
	h = restart(h, keeping(disk, line("a", 5), line("b", 6)))
	disk.next(t, 2).done(nil)
	held(h, "a", "b")
	h.stop()
	for _, is := range record.OperatorHolds([]record.OperatorHold{line("a", 5)}, lockmgr.Time{}) {
		kept.lines[is.Key()] = string(is.Append(nil))
	}
	kept.full = false
	h = start(t, keeping(disk, line("a", 5), line("b", 6)), func(s *Setup, _ *Options) { s.Journal, s.Records = kept, must(kept.Read()) })
	disk.next(t, 2).done(nil)
	held(h, "a", "b")

	// Now it has all. Then there is no room for what somebody waits for, who is told that it is held.
	c, waiter := h.dial3(), h.dial3()
	c.acquire("c")
	h.queue(waiter, "c", "FOR", "nobody", "WAIT", "60000")
	h.on(func() { kept.full = true })
	c.do("LOCK.RELEASE", "c")
	w := disk.next(t, 3)
	w.done(nil)
	waiter.granted()
	h = restart(h, keeping(disk, w.rows...))
	disk.next(t, 3).done(nil)
	held(h, "a", "b", "c")
	kept = h.setup.Journal.(*memory)
	h.on(func() { kept.full = false })
	h.until("all is kept", func() bool { return h.journal.Unwritten() == 0 })

	// It has all again, and so its file counts no more.
	h = restart(h, keeping(disk, append(w.rows, line("gone", 7))...))
	disk.next(t, 3).done(nil)
	held(h, "a", "b", "c")
}

// TestUnkept: without room, locks are what they are without a journal, it is logged once, and they are kept as soon as there is room.
func TestUnkept(t *testing.T) {
	h := start(t)
	c := h.dial3()
	kept := h.setup.Journal.(*memory)
	c.acquire("a", "FOR", "self")
	h.on(func() { kept.full = true })
	c.acquire("b", "FOR", "self")
	c.do("LOCK.RELEASE", "a")
	h.on(func() { kept.full = false })
	h.until("all is kept", func() bool { return h.journal.Unwritten() == 0 })
	if n := strings.Count(h.log.String(), "cannot keep all locks that are held"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, h.log)
	}
	h = restart(h)
	h.claims(1)
	h.dial3().holders("b", "exclusive", 1, 1, 0)
}

// TestKeptLate: a journal that can be written only after the start has what is true soon, and nothing else, and no turn of the loop
// writes it all.
func TestKeptLate(t *testing.T) {
	lease := func(n int) record.Record {
		return record.Of(record.NewHold(lockmgr.Claim{
			Request: lockmgr.Request{
				Name: fmt.Sprint("lock/", n), Units: 1, Bind: lockmgr.ToLease, Lease: 1e9, Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 7, Start: 8}},
			},
			ID: lockmgr.RequestID(n + 1), Token: lockmgr.Token(n + 1), Entries: 1, Expires: 1 << 62,
		}, 1, nil))
	}
	var records, stale []record.Record
	late := &memory{}
	for n := range 1000 {
		records = append(records, lease(n))
		stale = append(stale, lease(n+900))
	}
	if err := late.Apply(stale...); err != nil {
		t.Fatal(err)
	}
	h := start(t, func(s *Setup, _ *Options) { s.Journal, s.Records = &memory{full: true}, records })
	h.on(func() {
		if h.journal.Unwritten() != 1000 {
			t.Errorf("%d records are not kept", h.journal.Unwritten())
		}
	})
	late.most = 0
	h.SetJournal(late, stale)
	h.until("all is kept", func() bool { return !h.journal.Behind() })
	if late.most > journal.WriteAtOnce {
		t.Errorf("%d records were written in one turn", late.most)
	}
	got := must(late.Read())
	if !record.SaysComplete(got) {
		t.Error("it does not say that it is complete")
	}
	got = got[:len(got)-1]
	for i := range got {
		if !reflect.DeepEqual(got[i], lease(int(got[i].Is.(*record.Hold).Claim.Token)-1)) {
			t.Errorf("there is %+v", got[i])
		}
	}
	if len(got) != 1000 {
		t.Errorf("there are %d records", len(got))
	}
}

// TestNoRoomToKeep: what would be lost with the daemon is not granted. What ends with a connection is, and who waited already.
func TestNoRoomToKeep(t *testing.T) {
	h := start(t)
	c, waiter := h.dial3(), h.dial3()
	c.acquire("a", "FOR", "self")
	h.queue(waiter, "a", "FOR", "self", "OWNER", "w")
	kept := h.setup.Journal.(*memory)
	h.on(func() { kept.tight = errors.New("the disk is full") })
	for _, words := range [][]string{{"FOR", "self"}, {"LEASE", "60000"}, {"FOR", "nobody"}, {"AND", "c", "FOR", "self"}} {
		c.refused(wire.CodeIO, "the lock would be lost with the daemon, as it cannot be written down: the disk is full", append([]string{"LOCK.ACQUIRE", "b"}, words...)...)
	}
	c.acquire("b")
	c.do("LOCK.RELEASE", "a")
	waiter.granted()
	c.refused(wire.CodeIO, "", "LOCK.ACQUIRE", "c", "FOR", "self", "REQID", "1")
	h.on(func() { kept.tight = nil })
	c.acquire("c", "FOR", "self", "REQID", "1")
}

// TestKeptLost: a record that cannot be used is told of in the log and the status, and removed; the other holds are restored.
func TestKeptLost(t *testing.T) {
	h := start(t)
	c := h.dial3()
	c.acquire("good", "LEASE", "3600000")
	c.acquire("bad", "LEASE", "3600000")
	kept := h.setup.Journal.(*memory)
	h.stop()
	for key, line := range kept.lines {
		if strings.HasSuffix(key, " bad") {
			kept.lines[key] = strings.Replace(line, " units=1 ", " units=2 ", 1)
		}
	}
	h = start(t, func(s *Setup, _ *Options) { s.Journal, s.Records = kept, must(kept.Read()) })
	h.claims(1)
	if text := h.log.String(); strings.Count(text, "a lock that was held is free") != 1 || !strings.Contains(text, `\"bad\"`) {
		t.Error(text)
	}
	c = h.dial3()
	if n := c.do("IPCD.STATUS").Get("locks_lost").Int; n != 1 {
		t.Errorf("%d locks are lost", n)
	}
	if n := len(kept.lines); n != 1 {
		t.Errorf("%d records are kept", n)
	}
}

// TestKeptUnseen: a hold stays, whatever keeps the daemon from looking at its process but that the process is gone; and it ends
// with it as soon as it can be looked at.
func TestKeptUnseen(t *testing.T) {
	for _, failure := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO, unix.EACCES, unix.EPERM} {
		h := start(t)
		p, q := h.client(0), h.client(1)
		p.acquire("a", "FOR", "self")
		q.acquire("b", "FOR", "self")
		fail := atomic.Bool{}
		fail.Store(true)
		tried := make(chan struct{}, 1000)
		h = restart(h, func(s *Setup, _ *Options) {
			s.OpenProcess = func(who peer.Peer) (int, error) {
				tried <- struct{}{}
				if fail.Load() {
					return -1, failure
				}
				return peer.Open(who)
			}
		})
		h.claims(2)
		<-tried
		p.kill(syscall.SIGKILL)
		_ = p.cmd.Wait()
		c := h.dial3()
		c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "a", "WAIT", "0")
		c.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "b", "WAIT", "0")
		fail.Store(false)
		if g := c.acquire("a"); g.previous != "unknown" {
			t.Errorf("%v: got %+v", failure, g)
		}
		q.kill(syscall.SIGKILL)
		_ = q.cmd.Wait()
		if g := c.acquire("b"); g.previous != "killed 9" {
			t.Errorf("%v: got %+v", failure, g)
		}
		if n := strings.Count(h.log.String(), "cannot find out whether processes that have locks or wills are alive"); n != 1 {
			t.Errorf("%v: told %d times:\n%s", failure, n, h.log)
		}
	}
}

// TestGrantBeforeAnswer: a grant that was recorded, and not answered when the daemon ended, is the answer to the same command. For
// whoever repeats it, how long it waits may differ.
func TestGrantBeforeAnswer(t *testing.T) {
	for _, words := range [][]string{
		{"a", "FOR", "self", "REQID", "1"},
		{"a", "AND", "b", "FOR", "self", "REQID", "1"},
		{"a", "SHARED", "FOR", "self", "OWNER", "x", "REQID", "1"},
		{"a", "LEASE", "60000", "REQID", "1"},
		{"a", "FOR", "nobody", "REQID", "1"},
		{"a", "LEASE", "60000", "REQID", "\xff\xc1 not text"},
	} {
		h := start(t)
		p := h.client(0)
		p.acquire("a", "FOR", "self")
		p.kill(syscall.SIGKILL)
		_ = p.cmd.Wait()
		c := h.dial3()
		first := c.do(append([]string{"LOCK.ACQUIRE"}, words...)...)
		for range 2 {
			h = restart(h)
			c = h.dial3()
			again := c.do(append(append([]string{"LOCK.ACQUIRE"}, words...), "WAIT", "5000")...)
			if fmt.Sprint(first) != fmt.Sprint(again) {
				t.Errorf("%v: got %v, and then %v", words, first, again)
			}
			c.refused(wire.CodeErr, "another command", append(append([]string{"LOCK.ACQUIRE"}, words...), "WHY", "x")...)
		}
		c.do("LOCK.RELEASE", "a", first.Get("token").Text())
		c.refused(wire.CodeStale, "", append([]string{"LOCK.ACQUIRE"}, words...)...)
	}
}
