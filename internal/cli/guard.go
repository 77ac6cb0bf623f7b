package cli

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A guard looks after the locks of a child: for lock --on-lost, and for lock --lease, which it renews.
type guard struct {
	call   *verb.Call
	names  []string
	tokens []string // of the holds, by name; "" for one that has ended
	lease  verb.Span
	due    time.Time     // when the lease is to be renewed; zero: there is none
	told   chan struct{} // closed when all that the child said of itself was passed on
	lost   chan string
}

// guarded is the verb that a guard runs: lock, which becomes CMD.
func guarded() *verb.Verb {
	l := newLock()
	l.child = true
	v := l.verb()
	v.Group = "" // it is not for people
	return v
}

// heldWord begins what the child of a guard tells it alone: the tokens of the holds, which it has from then on.
const heldWord = "held "

// guard runs the same command line again as a child, by the hidden verb that becomes CMD whatever the options say, and sends it a signal if
// a lock is lost. The hold is the child's, so it outlives this process.
func (l *lockVerb) guard(c *verb.Call) error {
	pipe := make([]int, 2) // os.Pipe would set up the runtime's poller
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		return exit.Cannot("make a pipe", err)
	}
	said, say := os.NewFile(uintptr(pipe[0]), "pipe"), statusFile(pipe[1])
	argv := []string{process.Program(), "__" + c.Verb.Name, say.typed()}
	for _, option := range c.Typed {
		if !strings.HasPrefix(option, "--status-fd=") {
			argv = append(argv, option)
		}
	}
	argv = append(argv, "--", c.Words[0])
	if c.Command != nil { // else it is -c
		argv = append(append(argv, "--"), c.Command...)
	}
	say.inherit()
	k, err := process.StartChild(argv[0], argv, os.Environ())
	unix.Close(pipe[1])
	if err != nil {
		return err
	}
	g := guard{call: c, names: append([]string{c.Words[0]}, l.and...), lease: l.lease, told: make(chan struct{}), lost: make(chan string, 1)}
	go g.run(said, l.status)
	for {
		select {
		case s := <-k.Signals:
			k.Pass(s)
		case how := <-g.lost:
			if l.lost != 0 {
				how += "; sending " + process.SignalName(l.lost)
			}
			if !c.Quiet {
				c.Say(how)
			}
			if l.lost != 0 {
				k.Signal(l.lost)
			}
		case <-k.Ended:
			<-g.told
			return k.Outcome()
		}
	}
}

// run passes on what the child tells of itself, and has its locks watched from the moment when it has them.
func (g *guard) run(said *os.File, status statusFile) {
	for lines := bufio.NewScanner(said); lines.Scan(); { // the child closes its end when it begins to run CMD
		tokens, held := strings.CutPrefix(lines.Text(), heldWord)
		if !held {
			status.write(lines.Text())
			continue
		}
		if g.tokens = strings.Fields(tokens); len(g.tokens) == len(g.names) {
			go g.keep()
		}
	}
	said.Close()
	close(g.told)
}

// keep watches the locks until none is left: to lose one is no reason to lose the others. A daemon that is gone may come back and know of
// them.
func (g *guard) keep() {
	if g.lease.Set {
		g.due = time.Now().Add(g.pause())
	}
	for g.watch(); g.holds(); g.watch() {
		time.Sleep(g.pause())
	}
}

// holds reports whether one of the locks is still held.
func (g *guard) holds() bool {
	return slices.ContainsFunc(g.tokens, func(token string) bool { return token != "" })
}

// pause is how long to wait between two renewals, and before a daemon that is gone is looked for again.
func (g *guard) pause() time.Duration {
	if !g.lease.Set {
		return tick
	}
	return min(g.lease.D/3, time.Hour)
}

// watch tells which locks are lost, until none is held or the connection has ended.
func (g *guard) watch() {
	filters := make([]string, len(g.names))
	for i, name := range g.names {
		filters[i] = wire.LockTopic("released", name)
	}
	in, err := receive(g.call, filters)
	if err != nil {
		return
	}
	defer in.conn.Close()
	unsure := true   // whether the holds still are: events may have been missed
	in.resumed = nil // keep does that, and goes on for ever
	in.idle = func() error { return nil }
	in.lost = func(int64, string) { unsure = true }
	for {
		if unsure {
			unsure = false
			if g.check(in.conn) != nil {
				return
			}
		}
		if !g.holds() {
			return
		}
		m, err := in.next(g.due)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			unsure = !g.renew(in.conn)
			continue
		}
		if err != nil {
			return
		}
		_, name, _ := wire.ParseLockTopic(m.Topic)
		if i := slices.Index(g.names, name); i >= 0 && g.tokens[i] != "" && g.tokens[i] == jsonField(string(m.Payload), "token") {
			g.ended(i, jsonField(string(m.Payload), "how"))
		}
	}
}

// renew has all leases begin anew, and reports whether it could.
func (g *guard) renew(conn *ipc.Conn) bool {
	g.due = time.Now().Add(g.pause())
	done := true
	for i, name := range g.names {
		if g.tokens[i] != "" {
			_, err := renewLease(conn, name, g.tokens[i], g.lease)
			done = done && err == nil
		}
	}
	return done
}

// ended notes that a hold has ended, and tells if it was lost by that. One that CMD gave back is not.
func (g *guard) ended(i int, how string) {
	g.tokens[i] = ""
	switch how {
	case "broken":
		g.tell(i, "it was broken")
	case "expired":
		g.tell(i, "its lease is over")
	}
}

func (g *guard) tell(i int, why string) { g.lost <- "lost " + printable.Name(g.names[i]) + ": " + why }

// check asks for all locks whether they are still held.
func (g *guard) check(conn *ipc.Conn) error {
	for i, name := range g.names {
		if g.tokens[i] == "" {
			continue
		}
		_, err := conn.Do("LOCK.CHECK", name, g.tokens[i])
		if err == nil {
			continue
		}
		if !errors.Is(err, ipc.ErrNoLock) && !errors.Is(err, ipc.ErrStale) {
			return err
		}
		v, err := viewLock(conn, name)
		if err != nil {
			return err
		}
		if v.Previous != nil && tokenText(v.Previous.Token) == g.tokens[i] {
			g.ended(i, v.Previous.How)
			continue
		}
		g.tokens[i] = ""
		g.tell(i, "the daemon does not know of it any more")
	}
	return nil
}

// jsonField is a number, or a string without escapes, of an event of the daemon's; "" if there is none. (Within the
// strings of an object each quotation mark has a backslash in front, so none of them looks like the key.)
func jsonField(object, key string) string {
	_, rest, _ := strings.Cut(object, `"`+key+`":`)
	if text, ok := strings.CutPrefix(rest, `"`); ok {
		text, _, _ = strings.Cut(text, `"`)
		return text
	}
	end := strings.IndexAny(rest, ",}")
	return rest[:max(end, 0)]
}
