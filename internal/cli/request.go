package cli

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A lockMode is what to do with a lock.
type lockMode uint8

const (
	plain     lockMode = iota // one unit of it, or as many as -U says: all there is, unless it is a semaphore
	exclusive                 // all of it
	shared
	unlock // flock -u
)

// A request is what lock and acquire have in common: asking for a lock, or for several.
type request struct {
	mode     lockMode
	nonblock bool
	timeout  verb.Span
	conflict int // status instead of 75 and 124
	why      string
	and      []string
	limit    int
	units    int
	lease    verb.Span
	untold   bool // an abandoned hold that they are told of stays one for whoever comes next, until LOCK.TOLD
	id       string
	shown    bool // a terminal shows who is in the way, when the wait is over
}

// unset is the value of request.conflict without -E: a lock that is busy is told by 75, and a time-out by 124.
const unset = -1

func (q *request) options() []verb.Option {
	return []verb.Option{
		verb.Pick('s', "shared", &q.mode, shared, "Share the lock with others who use `-s`"),
		verb.Pick('x', "exclusive", &q.mode, exclusive, "Hold the lock alone, with all its units: the default if it has one"),
		verb.Pick('e', "", &q.mode, exclusive, "The same as `-x`"),
		verb.Flag('n', "nonblock", &q.nonblock, "Fail with 75 rather than wait").Or("nonblocking", "nb"),
		verb.Duration('w', "timeout", &q.timeout, "Fail with 124 after waiting this long; `-w 0` is `-n`").Or("wait"),
		verb.Number('E', "conflict-exit-code", "N", &q.conflict, 0, 255, "Fail with N instead of 75 and 124; with `-E 0`, say nothing either"),
		verb.Text('m', "why", "TEXT", &q.why, "The reason, shown to those who wait and by `ipcctl locks`"),
		verb.List('a', "and", "NAME", &q.and, "Take this lock too, all at once or none; may be given up to 31 times"),
		verb.Number('l', "limit", "N", &q.limit, 1, wire.MaxUnits, "The lock is a semaphore of N units: up to N holders of one unit at a time"),
		verb.Number('U', "units", "N", &q.units, 1, wire.MaxUnits, "Take N units instead of one"),
	}
}

var requestExits = []int{exit.Data, exit.Busy, exit.Deadlock, exit.Timeout}

// A holder is who is to hold a lock.
type holder struct {
	bound string     // what FOR says, perhaps the path of a cgroup; "": a lease is all that there is
	pid   int        // the process, or the one that asks for a hold that is bound to none
	pidfd int        // refers to that process unless it is this one, else -1
	label string     // the owner of a hold that is bound to no process
	shows []ipc.Hold // those that it acts for
}

// thisProcess is this process, and what it becomes.
func thisProcess() holder {
	return holder{bound: "self", pid: os.Getpid(), pidfd: -1, shows: ipc.InheritedHolds()}
}

// asks reports whether it is this process that is to hold, and so has to prove that it asks.
func (h *holder) asks() bool { return h.bound == "self" }

// isGroup reports whether it is a cgroup that is to hold.
func (h *holder) isGroup() bool { return strings.HasPrefix(h.bound, "/") }

// acts reports whether it acts for a hold: it has inherited it.
func (h *holder) acts(hold ipc.Hold) bool {
	return slices.ContainsFunc(h.shows, func(s ipc.Hold) bool { return s.Name == hold.Name && s.Token == hold.Token })
}

// send sends a request, with the descriptor that it needs. If it is bound to this process, the first reply is for proof.
func (h *holder) send(conn *ipc.Conn, words ...string) error {
	switch {
	case h.asks():
		return sendProven(conn, words...)
	case h.pidfd >= 0:
		return conn.SendFDs([]int{h.pidfd}, words...)
	}
	return conn.Send(words...)
}

// release gives back what was granted and not made use of: all of a hold, unless it was entered.
func (h *holder) release(conn *ipc.Conn, hold ipc.Hold) error {
	words := []string{"LOCK.RELEASE", hold.Name, tokenText(hold.Token)}
	var err error
	switch {
	case !h.acts(hold):
		_, err = conn.Do(append(words, "UNTOLD")...)
	case h.isGroup():
		_, err = conn.Do(append(words, "FOR", h.bound)...)
	case h.pidfd < 0:
		_, err = doProven(conn, append(words, "FOR", "self")...)
	default:
		if err = conn.SendFDs([]int{h.pidfd}, append(words, "FOR", "pid")...); err == nil {
			_, err = conn.Reply()
		}
	}
	return err
}

func parseToken(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 53)
	return n, err == nil && n > 0
}

// take asks for locks and waits until they are granted: a hold for each.
func (q *request) take(c *verb.Call, names []string, who holder) ([]ipc.Hold, error) {
	if q.mode != plain && q.units != 0 {
		return nil, exit.Unparsed("-U", "it goes with neither -s nor -x").With(c.Verb.Usage())
	}
	conn, err := c.Dial()
	if err != nil {
		return nil, err
	}
	defer func() { conn.Close() }()
	// A daemon that ends may have granted the lock and not said so any more. The next one knows the request by this id. What this
	// process has asked for before, and becomes perhaps to ask again, has another.
	q.id = strconv.FormatInt(time.Now().UnixNano(), 36)
	rest, deadline := *q, q.timeout.Deadline()
	if q.nonblock {
		deadline = time.Now()
	}
	grant, err := rest.wait(c, conn, names, who)
	var told time.Time
	for outage := (verb.Outage{}); verb.Stopped(err); {
		next, gone := outage.Redial(c, deadline, err)
		if gone != nil { // for good
			err = gone
			break
		}
		conn.Close()
		conn = next
		if !told.Equal(outage.Began()) && !q.tries() && c.Speaks(term.Stderr()) {
			told = outage.Began()
			c.Say("ipcd was restarted: waiting for " + printable.Names(names) + " anew")
		}
		if q.timeout.Set && !q.tries() {
			rest.timeout.D = max(time.Until(deadline), time.Millisecond)
		}
		grant, err = rest.wait(c, conn, names, who)
	}
	if err == nil {
		return ipc.Holds(grant), nil
	}
	f := exit.Cannot("lock "+printable.Names(names), err)
	if f.Exit == exit.Deadlock {
		f.Hint = who.wayOut(conn, names)
	}
	if errors.As(err, new(*unproven)) {
		f.Hint = "a lock that goes with time needs no process: ipcctl acquire -L D " + printable.Name(names[0])
	}
	if f.Exit != exit.Timeout && f.Exit != exit.Busy {
		return nil, f
	}
	name, text := inTheWay(conn, names, &who)
	f.Hint = "ipcctl why " + printable.Name(name)
	if f.Exit == exit.Timeout {
		if rest.shown {
			text = ""
		}
		text = joined("timed out after "+term.Spoken(q.timeout.D), text)
	}
	if text != "" {
		f.Text = "cannot lock " + printable.Names(names) + ": " + text
	}
	if q.conflict != unset {
		f.Exit = q.conflict
	}
	return nil, f
}

// joined puts a semicolon between two texts, if there are two.
func joined(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

// inTheWay says which of several locks could not be had, and why: "held 4m12s by restic (…): weekly prune; 1 waits for it". The
// text is "" if that is over by now, or is a hold that was shown: the daemon has said then why it is not enough.
func inTheWay(conn *ipc.Conn, names []string, who *holder) (name, text string) {
	for _, name := range names {
		v, err := viewLock(conn, name)
		if err != nil {
			break
		}
		if _, entered := v.holdOf(func(c *claim) bool { return who.acts(ipc.Hold{Name: name, Token: c.Token}) }); entered {
			return name, ""
		}
		text := describeQueue(v)
		if text != "" && len(names) > 1 {
			text = printable.Name(name) + " is " + text
		}
		if text != "" {
			return name, text
		}
	}
	return names[0], ""
}

// wayOut is the hint for who would wait for what he has himself, or for a process that he descends from; "" if it is neither.
// Mostly the one or the other is a script whose subshells ask, by $$, for what they are all one holder of.
func (h *holder) wayOut(conn *ipc.Conn, names []string) string {
	for _, name := range names {
		v, err := viewLock(conn, name)
		if err != nil {
			break
		}
		if h.label != "" {
			if _, own := v.holdOf(func(c *claim) bool { return isOperators(c) && c.Owner == h.label }); own {
				return "ipcctl release " + printable.Name(name)
			}
			continue
		}
		self, parent := int64(os.Getpid()), int64(os.Getppid())
		for p := range process.Ancestors(self) {
			i := slices.IndexFunc(v.holders, func(c claim) bool { return c.of(p) })
			if i < 0 {
				continue
			}
			c := &v.holders[i]
			hold := ipc.Hold{Name: v.Name, Token: c.Token}
			switch shown := h.acts(hold); {
			case c.UID != os.Geteuid() && os.Geteuid() != 0:
				return "that hold is of user " + c.user() + ", and this process of another: it can be entered by its own user and root alone"
			case shown:
			case process.IsSubshell(parent, p.PID):
				return "$$ is the same process in all subshells: ipcctl acquire --parent " + printable.Name(name)
			case p.PID == self && h.asks():
				return lostHolds("this process holds it already", hold)
			case p.PID != self && p.PID != int64(h.pid):
				return lostHolds(p.Command+" started this process", hold)
			}
		}
		own := process.OwnGroup()
		if hold, ok := v.holdOf(func(c *claim) bool { return isGroups(c) && strings.HasPrefix(own+"/", c.Owner+"/") }); ok && !h.isGroup() {
			return "this process is in the unit that holds it; to let it in: export IPC_LOCKS=" + strconv.Quote(inheritance(hold))
		}
	}
	return ""
}

// lostHolds is the hint for who belongs to a hold and does not know of it.
func lostHolds(who string, hold ipc.Hold) string {
	how := "$IPC_LOCKS does not tell it so, which sudo and env -i drop"
	if os.Getenv("IPC_LOCKS") != "" {
		how = "$IPC_LOCKS has other holds"
	}
	return who + ", and " + how + "; to let it in: export IPC_LOCKS=" + strconv.Quote(inheritance(hold))
}

// wait sends the request and waits for its outcome.
func (q *request) wait(c *verb.Call, conn *ipc.Conn, names []string, who holder) (wire.Value, error) {
	conn.Buffer("CLIENT", "ID") // of this connection: what a wait is given up by
	if err := who.send(conn, q.words(names, &who)...); err != nil {
		return wire.Value{}, err
	}
	id, err := conn.Reply()
	if err == nil && who.asks() {
		err = proof(conn)
	}
	if err != nil {
		return wire.Value{}, err
	}
	if !q.tries() && errors.Is(conn.Wait(time.Now().Add(grace)), os.ErrDeadlineExceeded) {
		w := watch(c, names, who, asker(id.Int))
		grant, err := conn.Reply()
		q.shown = w.end(err)
		return grant, err
	}
	return conn.Reply()
}

// tries reports whether the request does not wait.
func (q *request) tries() bool { return q.nonblock || q.timeout.Set && q.timeout.D == 0 }

// words are the request on the wire.
func (q *request) words(names []string, who *holder) []string {
	r := ipc.LockRequest{
		Names: names, Limit: q.limit, For: who.bound, Leased: q.lease.Set, Lease: q.lease.D, Shown: who.shows, Untold: q.untold, Why: q.why,
		Waits: q.nonblock || q.timeout.Set, ID: q.id,
	}
	switch {
	case q.mode == shared:
		r.Mode = "shared"
	case q.units > 0:
		r.Mode, r.Units = "units", q.units
	case q.mode == exclusive:
		r.Mode = "exclusive"
	}
	if !q.nonblock {
		r.Wait = q.timeout.D
	}
	return r.Words()
}
