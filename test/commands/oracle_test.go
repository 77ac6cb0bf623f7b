package commands

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// An oracle knows what locks there must be. It is as simple as can be: every lock has a list of those who hold it and of those who
// wait, and after each change whoever is first in all his queues and fits is let in.
type oracle map[string]*oracleLock

type oracleLock struct {
	limit            int
	holders, waiters []*claimant
}

// A claimant asks for locks, once: so nobody waits for himself, or in a circle.
type claimant struct {
	owner  string
	names  []string
	mode   string         // "SHARED", "EXCLUSIVE" or "UNITS"
	units  int            // with UNITS
	shared map[string]int // 1 for locks that it has downgraded
	conn   int            // which it ends with; -1: the process
	on     int            // the connection that it was asked for on
	ticket string
}

// has is how many units a claimant has of a lock: 0 if he shares it.
func (o oracle) has(c *claimant, name string) int {
	switch {
	case c.mode == "SHARED" || c.shared[name] == 1:
		return 0
	case c.mode == "EXCLUSIVE":
		return o[name].limit
	}
	return c.units
}

// fits reports whether a claimant and the holders of a lock go together.
func (o oracle) fits(c *claimant, name string) bool {
	units := o.has(c, name)
	for _, h := range o[name].holders {
		if (o.has(h, name) == 0) != (o.has(c, name) == 0) {
			return false
		}
		units += o.has(h, name)
	}
	return units <= o[name].limit
}

// acquire returns the code of the refusal, or "".
func (o oracle) acquire(c *claimant, limit int, try bool) string {
	units := max(c.units, 1)
	if c.mode != "UNITS" {
		units = 0
	}
	free := true
	for _, name := range c.names {
		l := o[name]
		has := max(limit, 1)
		if l != nil {
			has = l.limit
		}
		if limit != 0 && limit != has || units > has {
			return "LIMIT"
		}
		free = free && (l == nil || len(l.waiters) == 0 && o.fits(c, name))
	}
	if try && !free {
		return "BUSY"
	}
	for _, name := range c.names {
		if o[name] == nil {
			o[name] = &oracleLock{limit: max(limit, 1)}
		}
		o[name].waiters = append(o[name].waiters, c)
	}
	o.settle()
	return ""
}

// settle lets in who may go.
func (o oracle) settle() {
	for again := true; again; {
		again = false
		for _, name := range slices.Sorted(maps.Keys(o)) {
			l := o[name]
			if len(l.waiters) == 0 {
				if len(l.holders) == 0 {
					delete(o, name)
				}
				continue
			}
			first := l.waiters[0]
			goes := true
			for _, n := range first.names {
				goes = goes && o[n].waiters[0] == first && o.fits(first, n)
			}
			if goes {
				again = true
				for _, n := range first.names {
					o[n].waiters = o[n].waiters[1:]
					o[n].holders = append(o[n].holders, first)
				}
			}
		}
	}
}

// end takes away all holds of a lock that a condition is true of.
func (o oracle) end(name string, is func(*claimant) bool) {
	o[name].holders = slices.DeleteFunc(o[name].holders, is)
	o.settle()
}

// cancel ends all waits that a condition is true of.
func (o oracle) cancel(is func(*claimant) bool) (n int) {
	for _, l := range o {
		before := len(l.waiters)
		l.waiters = slices.DeleteFunc(l.waiters, is)
		n += before - len(l.waiters)
	}
	o.settle()
	return n
}

// String is all of it, in a form that LOCK.LIST can be brought into.
func (o oracle) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%s of %d:", name, o[name].limit)
		for _, h := range o[name].holders {
			fmt.Fprintf(&b, " %s=%d", h.owner, o.has(h, name))
		}
		b.WriteString(" <-")
		for _, w := range o[name].waiters {
			fmt.Fprintf(&b, " %s=%d", w.owner, o.has(w, name))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// A trial compares a daemon with the oracle.
type trial struct {
	oracle
	t      *testing.T
	rng    *rand.Rand
	daemon *testdaemon.Daemon
	shows  *ipc.Client
	conns  []*testdaemon.Peer
	tokens map[string]string // by lock and owner
	most   int64             // token
	asked  int
	leased bool // some of the holds are
	log    []string
}

// What the daemon grants, refuses and shows is what a naive model says, after every command. Holds that outlive the daemon have a
// trial of their own: it verifies each time that it would find them again, and that takes long.
func TestOracle(t *testing.T) {
	for _, c := range []struct {
		name   string
		leased bool
		steps  int
	}{{"of connections", false, *count / 5}, {"leased", true, *count / 60}} {
		t.Run(c.name, func(t *testing.T) {
			d := testdaemon.Start(t, testdaemon.Config{})
			s := seed()
			t.Logf("seed %d", s)
			client, err := ipc.Dial(context.Background(), d.Socket)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			x := &trial{
				oracle: oracle{}, t: t, rng: rand.New(rand.NewPCG(s, 1)), daemon: d, shows: client, conns: make([]*testdaemon.Peer, 5),
				leased: c.leased,
			}
			for i := range x.conns {
				x.connect(i)
			}
			for range c.steps {
				x.step()
				if t.Failed() {
					t.Fatalf("the last steps:\n%s", strings.Join(x.log[max(0, len(x.log)-40):], "\n"))
				}
			}
			t.Logf("%d steps", c.steps)
		})
	}
}

func (x *trial) connect(i int) {
	x.conns[i] = x.daemon.Dial(x.t)
	x.conns[i].Do("HELLO", "3")
}

// do sends a command and returns its answer: pushes that come before are of what came before.
func (x *trial) do(i int, words ...string) string {
	x.t.Helper()
	x.conns[i].Send(testdaemon.Cmd(words...))
	for {
		if f := x.conns[i].Frame(); f[0] != '>' {
			x.log = append(x.log, fmt.Sprintf("%d: %s: %.60q", i, strings.Join(words, " "), f))
			return f
		}
	}
}

// want fails the test unless an answer is what the oracle says: a code, or what it begins with.
func (x *trial) want(got, code, otherwise string) {
	x.t.Helper()
	want := otherwise
	if code != "" {
		want = "-" + code + " "
	}
	if !strings.HasPrefix(got, want) {
		x.t.Errorf("got %q, want %s…", got, want)
	}
}

func (x *trial) step() {
	x.t.Helper()
	conn := x.rng.IntN(len(x.conns))
	name := []string{"a", "b", "c", "s/3"}[x.rng.IntN(4)]
	token, holder := x.hold(name)
	code := ""
	switch l := x.oracle[name]; {
	case l == nil || len(l.holders) == 0:
		code = "NOLOCK"
	case holder == nil:
		code = "STALE"
	}
	hungUp := false
	switch x.rng.IntN(16) {
	case 0, 1, 2:
		x.want(x.do(conn, "LOCK.RELEASE", name, token), code, "+OK")
		if code == "" {
			x.end(name, func(c *claimant) bool { return c == holder })
		}
	case 3:
		words := []string{"LOCK.BREAK", name}
		if x.rng.IntN(2) == 0 {
			words = append(words, "TOKEN", token)
		} else if code == "STALE" {
			code = ""
		}
		x.want(x.do(conn, words...), code, "*")
		if code == "" {
			x.end(name, func(c *claimant) bool { return len(words) == 2 || c == holder })
		}
	case 4:
		if code == "" && x.has(holder, name) != 0 && x.has(holder, name) != x.oracle[name].limit {
			code = "LIMIT"
		}
		x.want(x.do(conn, "LOCK.DOWNGRADE", name, token), code, "+OK")
		if code == "" {
			holder.shared[name] = 1
			x.settle()
		}
	case 5, 6:
		x.want(x.do(conn, "LOCK.CHECK", name, token), code, "+OK")
	case 7:
		x.cancelOne(name)
	case 8:
		if x.rng.IntN(4) > 0 {
			break
		}
		x.log = append(x.log, fmt.Sprintf("%d hangs up", conn))
		_ = x.conns[conn].Close()
		x.cancel(func(c *claimant) bool { return c.on == conn })
		for _, n := range slices.Sorted(maps.Keys(x.oracle)) {
			if x.oracle[n] != nil {
				x.end(n, func(c *claimant) bool { return c.conn == conn })
			}
		}
		x.connect(conn)
		hungUp = true
	default:
		if l := x.oracle[name]; l == nil || len(l.waiters) < 5 { // or there is more to look at each time
			x.ask(conn, name)
		}
	}
	x.compare(hungUp)
}

// ask has somebody new ask for a lock, or two.
func (x *trial) ask(conn int, name string) {
	x.t.Helper()
	x.asked++
	c := &claimant{owner: fmt.Sprint("o", x.asked), names: []string{name}, mode: "UNITS", units: 1, conn: conn, on: conn, shared: map[string]int{}}
	words := []string{"LOCK.ACQUIRE", name}
	if other := []string{"a", "b", "c"}[x.rng.IntN(3)]; other != name && x.rng.IntN(4) == 0 {
		c.names = append(c.names, other)
		words = append(words, "AND", other)
	}
	switch x.rng.IntN(5) {
	case 0:
		c.mode = "SHARED"
		words = append(words, c.mode)
	case 1:
		c.mode = "EXCLUSIVE"
		words = append(words, c.mode)
	case 2:
		c.units = 1 + x.rng.IntN(4)
		words = append(words, c.mode, fmt.Sprint(c.units))
	}
	limit := 0
	if name == "s/3" && x.rng.IntN(5) > 0 {
		limit = 3
	} else if x.rng.IntN(20) == 0 {
		limit = 1 + x.rng.IntN(3)
	}
	if limit > 0 {
		words = append(words, "LIMIT", fmt.Sprint(limit))
	}
	try := x.rng.IntN(4) == 0
	if try {
		words = append(words, "WAIT", "0")
	}
	if x.leased && x.rng.IntN(2) == 0 {
		c.conn = -1
		words = append(words, "LEASE", "3600000")
	}
	code := x.acquire(c, limit, try)
	got := x.do(conn, append(words, "OWNER", c.owner, "ASYNC")...)
	x.want(got, code, ":")
	c.ticket = strings.TrimSpace(got[1:])
}

// cancelOne cancels a wait, on its own connection.
func (x *trial) cancelOne(name string) {
	x.t.Helper()
	l := x.oracle[name]
	if l == nil || len(l.waiters) == 0 {
		return
	}
	c := l.waiters[x.rng.IntN(len(l.waiters))]
	x.want(x.do(c.on, "LOCK.CANCEL", c.ticket), "", ":1")
	x.cancel(func(other *claimant) bool { return other == c })
}

// hold picks a hold of a lock and its token, or one that is over.
func (x *trial) hold(name string) (token string, holder *claimant) {
	if l := x.oracle[name]; l != nil && len(l.holders) > 0 && x.rng.IntN(5) > 0 {
		c := l.holders[x.rng.IntN(len(l.holders))]
		return x.tokens[name+" "+c.owner], c
	}
	return fmt.Sprint(1 + x.rng.IntN(1000)), nil
}

// compare looks at all locks. What a hang-up ends is ended a moment later, when the kernel has had time to tell more.
func (x *trial) compare(later bool) {
	x.t.Helper()
	want := x.String()
	late := time.Now().Add(patience)
	for {
		list, err := x.shows.Do(context.Background(), "LOCK.LIST")
		if err != nil {
			x.t.Fatal(err)
		}
		got, tokens := x.listed(list)
		if got == want {
			for who, token := range tokens {
				if _, known := x.tokens[who]; !known && token <= x.most {
					x.t.Errorf("%s has token %d, after %d", who, token, x.most)
				}
			}
			x.tokens = map[string]string{}
			for who, token := range tokens {
				x.tokens[who] = fmt.Sprint(token)
				x.most = max(x.most, token)
			}
			return
		}
		if !later || time.Now().After(late) {
			x.t.Errorf("the daemon shows\n%swant\n%s", got, want)
			return
		}
	}
}

// listed brings LOCK.LIST into the form of the oracle.
func (x *trial) listed(list wire.Value) (string, map[string]int64) {
	var b strings.Builder
	tokens := map[string]int64{}
	for _, l := range list.Elems {
		name := l.Get("name").Str
		fmt.Fprintf(&b, "%s of %d:", name, l.Get("limit").Int)
		for _, h := range l.Get("holders").Elems {
			fmt.Fprintf(&b, " %s=%d", h.Get("owner").Str, h.Get("units").Int)
			tokens[name+" "+h.Get("owner").Str] = h.Get("token").Int
		}
		b.WriteString(" <-")
		for _, w := range l.Get("waiters").Elems {
			fmt.Fprintf(&b, " %s=%d", w.Get("owner").Str, w.Get("units").Int)
		}
		b.WriteString("\n")
	}
	return b.String(), tokens
}
