package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// TestRecordedThenTold: the daemon dies, in whatever command, before and after each record that it writes, and when all is over.
// All that was on its way to anybody has arrived by then, which is the worst case. What they were told is true of what the next
// daemon restores.
func TestRecordedThenTold(t *testing.T) {
	events := map[string]bool{}
	for _, d := range deeds {
		t.Run(d.name, func(t *testing.T) {
			if d.learns {
				testenv.Kernel(t, 6, 15, needsStatus)
			}
			died := true
			for point := 0; died && !t.Failed(); point++ {
				t.Run(fmt.Sprint(point), func(t *testing.T) { died = dieAt(t, &d, point, events) })
			}
		})
	}
	for _, kind := range []lockmgr.Kind{ // those that change what is recorded, and are told
		lockmgr.Waiting, lockmgr.Acquired, lockmgr.Joined, lockmgr.Reentered, lockmgr.Left, lockmgr.Ended, lockmgr.TimedOut,
		lockmgr.Cancelled, lockmgr.Downgraded, lockmgr.Renewed, lockmgr.Told,
	} {
		name := kind.String()
		if kind == lockmgr.Ended {
			name = "released"
		}
		if !events[name] {
			t.Errorf("nothing was done by which a lock is %s", name)
		}
	}
	for i := range wire.Commands {
		row := &wire.Commands[i]
		changes := row.Family == wire.FamilyLock && !slices.Contains([]string{"LOCK.CHECK", "LOCK.FOLLOW", "LOCK.ISDONE", "LOCK.INFO", "LOCK.LIST"}, row.Name)
		if changes && !slices.ContainsFunc(deeds, func(d deed) bool { return slices.Contains(d.words, row.Name) }) {
			t.Errorf("%s is not tried", row.Name)
		}
	}
}

// A deed is something that changes the locks.
type deed struct {
	name    string
	words   []string               // the command that it is, which the first client sends
	setup   func(*Setup, *Options) // may be nil
	prepare func(w *world)         // may be nil
	do      func(w *world)         // what happens, if it is not the command alone
	until   []string               // what is heard when all is over: see hears
	means   func(w *world)         // what the first client is told by an answer that is no more than OK or a number; may be nil
	history string                 // an event of which it may be recorded already that it is no more so
	learns  bool                   // it needs a kernel that tells how processes ended
}

const aWhile = "3600000"

var deeds = []deed{
	{name: "acquire", words: []string{"LOCK.ACQUIRE", "a", "LEASE", aWhile}, until: []string{"acquired a", "answer 0"}},
	{name: "acquire for self", words: []string{"LOCK.ACQUIRE", "a", "FOR", "self"}, until: []string{"acquired a", "answer 0"}},
	{name: "acquire async", words: []string{"LOCK.ACQUIRE", "a", "LEASE", aWhile, "ASYNC"}, until: []string{"acquired a", "done 0"}},
	{name: "acquire some", words: []string{"LOCK.ACQUIRE", "a", "AND", "b", "AND", "c", "LEASE", aWhile}, until: []string{"acquired c", "answer 0"}},
	{name: "acquire once", words: []string{"LOCK.ACQUIRE", "a", "LEASE", aWhile, "REQID", "x"}, until: []string{"acquired a", "answer 0"}},
	{name: "acquire for nobody", words: []string{"LOCK.ACQUIRE", "a", "AND", "b", "FOR", "nobody"}, until: []string{"acquired b", "answer 0"}},
	{
		name: "acquire again", words: []string{"LOCK.ACQUIRE", "a", "LEASE", aWhile, "OWNER", "0", "JOIN", "TOKEN a"},
		prepare: func(w *world) { w.hold(0, "a") },
		until:   []string{"reentered a", "answer 0"},
	},
	{
		name:    "acquire what was abandoned",
		prepare: func(w *world) { w.abandon("a") },
		words:   []string{"LOCK.ACQUIRE", "a", "LEASE", aWhile}, until: []string{"acquired a", "answer 0"},
	},
	{
		name:    "join",
		prepare: func(w *world) { w.tokens["a"] = w.process().acquire("a", "FOR", "self").token },
		do:      func(w *world) { w.say(0, "LOCK.ACQUIRE", "a", "LEASE", aWhile, "JOIN", w.tokens["a"]) },
		until:   []string{"joined a", "answer 0"},
	},
	{
		name: "wait", words: []string{"LOCK.ACQUIRE", "a", "LEASE", aWhile, "OWNER", "0"},
		prepare: func(w *world) { w.hold(1, "a") },
		until:   []string{"waiting a"},
	},
	{
		name: "acquire what was waited for on a connection that has ended",
		prepare: func(w *world) {
			w.hold(1, "a")
			w.wait(2, "a", "REQID", "2")
			w.wait(3, "a", "SHARED")
			w.c[2].close()
			w.until("its wait goes on", func() bool { return w.figures().Detached == 1 })
		},
		do:    func(w *world) { w.say(0, "LOCK.ACQUIRE", "a", "LEASE", aWhile, "OWNER", "2", "WAIT", "0") },
		until: []string{"cancelled a", "answer 0"},
	},
	{
		name: "release", words: []string{"LOCK.RELEASE", "a", "TOKEN a"},
		prepare: func(w *world) { w.hold(0, "a"); w.wait(1, "a"); w.wait(2, "a") },
		until:   []string{"acquired a", "answer 0", "answer 1"},
		means:   func(w *world) { w.ended("a", w.tokens["a"]) },
	},
	{
		name: "leave", words: []string{"LOCK.RELEASE", "a", "TOKEN a"},
		prepare: func(w *world) { w.hold(0, "a"); w.hold(0, "a", "JOIN", w.tokens["a"]) },
		until:   []string{"left a", "answer 0"},
	},
	{
		name: "release to those who share", words: []string{"LOCK.RELEASE", "a", "TOKEN a"},
		prepare: func(w *world) {
			w.hold(0, "a")
			w.wait(1, "a", "SHARED")
			w.wait(2, "a", "SHARED")
			w.wait(3, "a", "AND", "b", "SHARED")
		},
		until: []string{"acquired b", "answer 0", "answer 1", "answer 2", "answer 3"},
		means: func(w *world) { w.ended("a", w.tokens["a"]) },
	},
	{
		name: "give back untold", words: []string{"LOCK.RELEASE", "a", "TOKEN a", "UNTOLD"},
		prepare: func(w *world) { w.abandon("a"); w.hold(0, "a"); w.wait(1, "a") },
		until:   []string{"acquired a", "answer 0", "answer 1"},
		means:   func(w *world) { w.ended("a", w.tokens["a"]) },
	},
	{
		name: "release for nobody", words: []string{"LOCK.RELEASE", "a", "TOKEN a"},
		prepare: func(w *world) { w.tokens["a"] = w.c[0].acquire("a", "FOR", "nobody").token; w.wait(1, "a") },
		until:   []string{"acquired a", "answer 0", "answer 1"},
		means:   func(w *world) { w.ended("a", w.tokens["a"]) },
	},
	{
		name: "renew", words: []string{"LOCK.RENEW", "a", "TOKEN a", "LEASE", "1800000"},
		prepare: func(w *world) { w.hold(0, "a") },
		until:   []string{"renewed a", "answer 0"},
		means: func(w *world) {
			w.is("a", w.tokens["a"], func(c *lockmgr.Claim) bool { return c.Lease == 30*time.Minute })
		},
	},
	{
		name: "downgrade", words: []string{"LOCK.DOWNGRADE", "a", "TOKEN a"},
		prepare: func(w *world) { w.hold(0, "a"); w.wait(1, "a", "SHARED"); w.wait(2, "a", "SHARED") },
		until:   []string{"acquired a", "answer 0", "answer 1", "answer 2"},
		means: func(w *world) {
			w.is("a", w.tokens["a"], func(c *lockmgr.Claim) bool { return c.Mode == lockmgr.Shared })
		},
	},
	{
		name: "deal with what was abandoned", words: []string{"LOCK.TOLD", "a", "TOKEN a"},
		prepare: func(w *world) { w.abandon("a"); w.hold(0, "a") },
		until:   []string{"told a", "answer 0"},
		means: func(w *world) {
			w.is("a", w.tokens["a"], func(c *lockmgr.Claim) bool { return c.Told == nil })
		},
	},
	{
		name: "break", words: []string{"LOCK.BREAK", "a"},
		prepare: func(w *world) { w.hold(1, "a", "SHARED"); w.hold(2, "a", "SHARED"); w.wait(3, "a") },
		until:   []string{"acquired a", "answer 0", "lost 1", "lost 2", "answer 3"},
	},
	{
		name: "break with descriptors", words: []string{"LOCK.BREAK", "a", "PIDFD"},
		prepare: func(w *world) { w.tokens["a"] = w.process().acquire("a", "FOR", "self").token; w.wait(1, "a") },
		until:   []string{"acquired a", "answer 0", "answer 1"},
	},
	{
		name: "break what is held for nobody", words: []string{"LOCK.BREAK", "a", "REQID", "x"},
		prepare: func(w *world) { w.tokens["a"] = w.c[1].acquire("a", "FOR", "nobody").token; w.wait(1, "a") },
		until:   []string{"acquired a", "answer 0", "answer 1"},
	},
	{
		name: "cancel", words: []string{"LOCK.CANCEL", "TOKEN ticket"},
		prepare: func(w *world) {
			w.hold(1, "a", "SHARED")
			w.wait(0, "a", "ASYNC")
			w.tokens["ticket"] = w.c[0].value().Text()
			w.wait(2, "a", "SHARED")
		},
		until: []string{"acquired a", "done 0", "answer 2"},
	},
	{
		name:    "half-close while one waits",
		prepare: func(w *world) { w.hold(1, "a", "SHARED"); w.wait(3, "a"); w.wait(2, "a", "SHARED") },
		do:      func(w *world) { w.c[3].halfClose() },
		until:   []string{"acquired a", "answer 2"},
	},
	{
		name:    "close while one waits",
		prepare: func(w *world) { w.hold(1, "a", "SHARED"); w.wait(3, "a", "ASYNC"); w.wait(2, "a", "SHARED") },
		do:      func(w *world) { w.c[3].close() },
		until:   []string{"acquired a", "answer 2"},
	},
	{
		name:    "close while one holds",
		prepare: func(w *world) { w.c[3].acquire("a"); w.wait(1, "a"); w.wait(2, "a") },
		do:      func(w *world) { w.c[3].close() },
		until:   []string{"acquired a", "answer 1"},
	},
	{
		name:    "wait for too long",
		prepare: func(w *world) { w.hold(1, "a", "SHARED") },
		do: func(w *world) {
			w.say(3, "LOCK.ACQUIRE", "a", "LEASE", aWhile, "OWNER", "3", "WAIT", "1")
			w.say(2, "LOCK.ACQUIRE", "a", "LEASE", aWhile, "OWNER", "2", "SHARED")
		},
		until: []string{"acquired a", "timedout a", "answer 2"},
	},
	{
		name:    "a lease ends",
		prepare: func(w *world) { w.hold(1, "a"); w.wait(2, "a") },
		do:      func(w *world) { w.say(1, "LOCK.RENEW", "a", w.tokens["a"], "LEASE", "1") },
		until:   []string{"expired a", "acquired a", "lost 1", "answer 2"},
		history: "renewed",
	},
	{
		name: "a process is killed",
		prepare: func(w *world) {
			w.process().acquire("a", "FOR", "self")
			w.process().acquire("b", "FOR", "self")
			w.wait(1, "a")
			w.wait(2, "a", "AND", "b")
		},
		do:    func(w *world) { w.p.kill(syscall.SIGKILL) },
		until: []string{"abandoned b", "acquired a", "answer 1"},
	},
	{
		name: "a process is reaped", setup: unprivileged, learns: true,
		prepare: func(w *world) {
			w.process().acquire("a", "FOR", "self")
			w.wait(1, "a")
			w.p.kill(syscall.SIGTERM)
			w.c[1].granted()
		},
		do:    func(w *world) { _ = w.p.cmd.Wait() },
		until: []string{"learned a"},
	},
	{
		name:    "a mark is raised",
		setup:   func(s *Setup, _ *Options) { s.Token, s.Mark, s.RaiseMark = 1<<52, 1<<52, func(uint64) {} },
		prepare: func(w *world) { w.wait(1, "a"); w.wait(2, "b") },
		do:      func(w *world) { w.MarkRaised(1<<52+1, nil) },
		until:   []string{"acquired a", "answer 1"},
	},
	{
		name: "done", words: []string{"LOCK.DONE", "a", "TOKEN a", "PER", "boot"},
		prepare: func(w *world) { w.hold(0, "a") },
		until:   []string{"answer 0"},
		means:   func(w *world) { w.marked("a", true) },
	},
	{
		name: "forget", words: []string{"LOCK.FORGET", "a"},
		prepare: func(w *world) { w.hold(0, "a"); w.c[0].do("LOCK.DONE", "a", w.tokens["a"], "PER", "ever") },
		until:   []string{"answer 0"},
		means:   func(w *world) { w.marked("a", false) },
	},
}

// A world is a daemon, those who use it and one who watches it.
type world struct {
	*harness
	keeper  *mortal
	c       []*client
	p       *child // see process
	watcher *client
	tokens  map[string]string // of what is held, by lock
	heard   map[string]bool
	truth   map[string]func(*restored) bool // what was heard must be true of what is restored, by what it is about
}

// restored is what the next daemon begins with.
type restored struct {
	*lockmgr.Manager
	mark lockmgr.Token
	done []record.Done
}

// dieAt does a deed, with the daemon dying at the given point, or when all is over. It reports which of both.
func dieAt(t *testing.T, d *deed, point int, events map[string]bool) bool {
	w := &world{keeper: new(mortal), tokens: map[string]string{}, heard: map[string]bool{}, truth: map[string]func(*restored) bool{}}
	change := []func(*Setup, *Options){func(s *Setup, _ *Options) {
		s.Verify = false // what it would find first is to be found here, too
		s.Journal, s.SaveDone = w.keeper, w.keeper.saveDone
		s.SaveHolds = func(_ []record.OperatorHold, done func(error)) { w.keeper.pass(); done(nil) }
	}}
	if d.setup != nil {
		change = append(change, d.setup)
	}
	before := descriptors(t)
	w.harness = start(t, change...)
	t.Cleanup(func() { // those that it was about to send die with it
		for fd, what := range descriptors(t) {
			if n, err := strconv.Atoi(fd); err == nil && before[fd] == "" && what == "anon_inode:[pidfd]" {
				_ = unix.Close(n)
			}
		}
	})
	w.keeper.server = w.Server
	for range 4 {
		w.c = append(w.c, w.dial3())
	}
	w.watcher = w.dial3()
	w.c[0].prove()
	w.watcher.do("BUS.SUB", "ipcd/lock/#")
	if d.prepare != nil {
		d.prepare(w)
	}
	w.watcher.cmd("ECHO", "sync")
	for v := w.watcher.value(); v.Str != "sync"; v = w.watcher.value() { // the events until now
	}
	w.on(func() { w.keeper.armed, w.keeper.left = true, point })
	if d.do != nil {
		d.do(w)
	} else {
		words := slices.Clone(d.words)
		for i, word := range words {
			if name, ok := strings.CutPrefix(word, "TOKEN "); ok {
				words[i] = w.tokens[name]
			}
		}
		w.say(0, words...)
	}
	died := w.listen(d)
	w.harness.wait()
	w.check()
	maps.Copy(events, w.heard)
	return died
}

// say sends a command to the daemon, which may have died.
func (w *world) say(i int, words ...string) { _, _ = w.c[i].w.Write(wire.AppendCommand(nil, words...)) }

// process is another process that is connected.
func (w *world) process() *child {
	if w.p == nil {
		w.p = w.client(0)
	}
	return w.p
}

// hold has a client hold a lock.
func (w *world) hold(i int, name string, more ...string) {
	w.tokens[name] = w.c[i].acquire(append([]string{name, "LEASE", aWhile, "OWNER", fmt.Sprint(i)}, more...)...).token
}

// wait has a client wait for a lock.
func (w *world) wait(i int, name string, more ...string) {
	w.queue(w.c[i], append([]string{name, "LEASE", aWhile, "OWNER", fmt.Sprint(i)}, more...)...)
}

// abandon has a lock be abandoned by somebody.
func (w *world) abandon(name string) {
	c := w.dial()
	c.acquire(name, "OWNER", "x")
	c.close()
	w.until("it is abandoned", func() bool { return w.locks.View(name).Abandoned != nil })
}

// listen takes all that is heard until the daemon has died, which it does when all is over, if not before. It reports whether
// it did so before.
func (w *world) listen(d *deed) (died bool) {
	type words struct {
		from int
		v    wire.Value
		err  error
	}
	heard := make(chan words)
	all := append(w.c, w.watcher)
	for i, c := range all {
		_ = c.set(time.Now().Add(patience))
		go func() {
			for {
				v, err := c.dec.Decode()
				heard <- words{i, v, err}
				if err != nil {
					return
				}
			}
		}()
	}
	over := false
	for left := len(all); left > 0; {
		x := <-heard
		if errors.Is(x.err, os.ErrDeadlineExceeded) {
			w.t.Fatalf("heard %v, want %v", slices.Sorted(maps.Keys(w.heard)), d.until)
		}
		if x.err != nil {
			left--
			continue
		}
		w.hears(x.from, x.v, d)
		if !over && !slices.ContainsFunc(d.until, func(what string) bool { return !w.heard[what] }) {
			over = true
			_ = w.Post(w.keeper.die)
		}
	}
	return !over
}

// hears takes note of what one of the connections was told.
func (w *world) hears(from int, v wire.Value, d *deed) {
	kind := "answer"
	if v.Kind == wire.KindPush {
		kind = v.Elems[0].Str
	}
	switch kind {
	case "bus.message":
		var e event
		if err := json.Unmarshal([]byte(v.Elems[3].Str), &e); err != nil {
			w.t.Fatal(err)
		}
		w.heard[e.Event] = true
		w.heard[e.Event+" "+e.Name] = true
		if e.Event != d.history {
			w.happened(&e)
		}
	case "lock.lost":
		w.heard[fmt.Sprint("lost ", from)] = true
		w.ended(v.Elems[1].Str, v.Elems[2].Text())
	case "done":
		w.heard[fmt.Sprint("done ", from)] = true
		w.answered(v.Elems[2], d)
	case "answer":
		w.heard[fmt.Sprint("answer ", from)] = true
		if !w.answered(v, d) && from == 0 && d.means != nil && v.Kind != wire.KindError {
			d.means(w)
		}
	}
}

// event is what is published of a lock.
type event struct {
	Event, Name, Mode, How, Abandoned string
	PID, Entries                      int
	Token                             uint64
}

func (w *world) happened(e *event) {
	token := fmt.Sprint(e.Token)
	switch e.Event {
	case "acquired", "joined", "reentered", "renewed", "told", "downgraded":
		w.is(e.Name, token, func(c *lockmgr.Claim) bool {
			return c.Owner.Process.PID != e.PID || e.Entries == 0 || c.Entries == e.Entries
		})
		if e.Event == "downgraded" {
			w.is(e.Name, token, func(c *lockmgr.Claim) bool { return c.Mode == lockmgr.Shared })
		}
	case "left", "released":
		if e.How != "" {
			w.ended(e.Name, token)
		} else {
			w.is(e.Name, token, func(c *lockmgr.Claim) bool { return c.Entries == e.Entries })
		}
	case "abandoned", "learned":
		w.truth["mark "+e.Name] = func(r *restored) bool {
			end := r.Abandoned(e.Name)
			for c := range r.Holders(e.Name) {
				if end == nil {
					end = c.Told
				}
			}
			return end != nil && end.String() == e.How
		}
	}
}

// answered takes note of an answer that shows holds, and reports whether it does: they are granted, or were broken.
func (w *world) answered(v wire.Value, d *deed) bool {
	if v.Kind == wire.KindArray {
		for _, one := range v.Elems {
			w.answered(one, d)
		}
		return true
	}
	if v.Kind != wire.KindMap {
		return false
	}
	token := v.Get("token").Text()
	if grant := v.Get("name"); grant.Str != "" {
		w.is(grant.Str, token, func(*lockmgr.Claim) bool { return true })
	} else {
		w.ended(d.words[1], token)
	}
	return true
}

// is notes that a lock is held, and what else is true of a claim to that hold. When it has ended that is no more so.
func (w *world) is(name, token string, also func(*lockmgr.Claim) bool) {
	key := "hold " + name + " " + token
	before := w.truth[key]
	if w.heard["end of "+key] {
		return
	}
	w.truth[key] = func(r *restored) bool {
		for c := range r.Holders(name) {
			if fmt.Sprint(uint64(c.Token)) == token && also(&c) {
				return (r.mark == 0 || c.Token <= r.mark) && (before == nil || before(r))
			}
		}
		return false
	}
}

// ended notes that a hold has ended.
func (w *world) ended(name, token string) {
	key := "hold " + name + " " + token
	w.heard["end of "+key] = true
	w.truth[key] = func(r *restored) bool {
		for c := range r.Holders(name) {
			if fmt.Sprint(uint64(c.Token)) == token {
				return false
			}
		}
		return true
	}
}

// marked notes that something is done, or not.
func (w *world) marked(key string, done bool) {
	w.truth["done "+key] = func(r *restored) bool {
		return slices.ContainsFunc(r.done, func(d record.Done) bool { return d.Key == key }) == done
	}
}

// check looks whether all that was heard is true.
func (w *world) check() {
	records := must(w.keeper.Read())
	kept, bad := record.Read(records)
	if bad != nil {
		w.t.Fatal(bad)
	}
	r := &restored{Manager: lockmgr.Restore(kept.Snapshot(), 0, 0), done: w.keeper.done}
	for _, is := range records {
		if m, ok := is.Is.(*record.Mark); ok {
			r.mark = m.Token
		}
	}
	if err := r.Check(); err != nil {
		w.t.Fatal(err)
	}
	for what, isTrue := range w.truth {
		if !isTrue(r) {
			var state strings.Builder
			_ = r.Dump(&state)
			w.t.Errorf("somebody was told of %s what is not restored:\n%s%v", what, &state, w.keeper.done)
		}
	}
}

// A mortal keeps records until its daemon dies.
type mortal struct {
	memory
	server *Server
	armed  bool
	left   int // points to be passed
	dead   bool
	done   []record.Done
}

// saveDone is Setup.SaveDone.
func (m *mortal) saveDone(all []record.Done, done func(error)) {
	m.pass()
	m.done = slices.Clone(all)
	m.pass()
	done(nil)
}

func (m *mortal) Apply(records ...record.Record) error {
	if m.dead {
		return nil
	}
	m.pass()
	err := m.memory.Apply(records...)
	m.pass()
	return err
}

// pass is a point at which the daemon may die.
func (m *mortal) pass() {
	if !m.armed || m.dead {
		return
	}
	if m.left == 0 {
		m.die()
	}
	m.left--
}

// die ends the daemon there and then. What it was about to write to sockets is written.
func (m *mortal) die() {
	m.dead = true
	m.server.set.Net.FlushAll()
	runtime.Goexit()
}
