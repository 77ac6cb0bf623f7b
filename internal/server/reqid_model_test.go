package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/locks"
	"github.com/ipcd/ipcd/internal/session"
)

// A resender is a client that hangs up whenever it likes, and then sends again what it has no answer to, and the command by
// which it holds a lock. What it believes must be true all the same.
type resender struct {
	name  string
	end   *end       // nil while it is not connected
	sent  [][]string // on this connection, and not answered
	op    []string   // what it wants an answer to
	holds []string   // the LOCK.ACQUIRE by which it holds a lock; nil: none
	token string
}

func (c *resender) send(words []string) {
	c.sent = append(c.sent, words)
	c.end.cmd(words...)
}

// answered is told of an answer. It returns what is wrong with it, if anything.
func (c *resender) answered(q *queueModel, text string) string {
	words := c.sent[0]
	c.sent = c.sent[1:]
	isOp := slices.Equal(c.op, words)
	if isOp {
		c.op = nil
	}
	id := words[len(words)-1]
	token, stale := between(text, "token\r\n:", "\r\n"), strings.HasPrefix(text, "-STALE ")
	switch words[0] {
	case "BUS.PUB":
		seq, before := between(text, "seq\r\n:", "\r\n"), q.seqs[id]
		if seq == "" || before != "" && before != seq {
			return "was published before as " + before
		}
		q.seqs[id] = seq
	case "LOCK.RELEASE":
		c.holds = nil
		if text != "+OK\r\n" && !stale && !strings.HasPrefix(text, "-NOLOCK ") {
			return "was not released"
		}
	case "LOCK.ACQUIRE":
		switch queue := q.queues[words[1]]; {
		case stale && (isOp || c.holds != nil):
			c.holds = nil
			if r := q.known[id]; r == nil || !r.over {
				return "is held"
			}
		case token == "":
			return "was neither granted nor lost"
		case c.op != nil && c.op[0] == "LOCK.RELEASE": // sent, too
		case len(queue) == 0 || queue[0].id != id:
			return "is not held"
		case !isOp && token != c.token:
			return "was held with token " + c.token
		default:
			c.holds, c.token = words, token
		}
	}
	return ""
}

// A queueModel is what locks would be if no connection ever ended: the first of each queue holds the lock, and a command that
// comes again is the one that came before. Only time makes a difference, for those who are away.
type queueModel struct {
	m      *manual
	queues map[string][]*queued
	known  map[string]*queued // by REQID
	seqs   map[string]string  // of what was published, by REQID
}

type queued struct {
	id, owner, lock string
	sess            *session.Session
	told, over      bool
}

// executed is told of every command that the server has executed.
func (q *queueModel) executed(sess *session.Session, name string, args []string, reply string) {
	id := args[len(args)-1]
	r := q.known[id]
	switch {
	case name == "LOCK.ACQUIRE" && r == nil:
		r = &queued{id: id, owner: args[2], lock: args[0], sess: sess}
		q.known[id] = r
		q.queues[r.lock] = append(q.queues[r.lock], r)
	case name == "LOCK.ACQUIRE" && !sess.HungUp():
		r.sess = sess
	case name == "LOCK.RELEASE" && r == nil:
		q.known[id] = &queued{over: true}
		if reply != "" { // an error: else it is sent already
			break
		}
		q.queues[args[0]][0].over = true
		q.queues[args[0]] = q.queues[args[0]][1:]
	}
	q.tell()
}

// tell notes who knows that he holds a lock.
func (q *queueModel) tell() {
	for _, queue := range q.queues {
		if len(queue) > 0 && !queue[0].sess.Dead() && !queue[0].sess.HungUp() {
			queue[0].told = true
		}
	}
}

// graceOver is the end of those whose connection is gone.
func (q *queueModel) graceOver() {
	for name, queue := range q.queues {
		q.queues[name] = slices.DeleteFunc(queue, func(r *queued) bool {
			gone := r.sess.Dead()
			if r.over = gone; gone && !r.told {
				delete(q.known, r.id)
			}
			return gone
		})
	}
	q.tell()
}

// check compares the queues with the server's.
func (q *queueModel) check() {
	q.m.t.Helper()
	for _, name := range []string{"a", "b"} {
		var want, got []string
		for _, r := range q.queues[name] {
			want = append(want, r.owner)
		}
		v := q.m.locks.View(name)
		for _, c := range append(v.Holders, v.Waiters...) {
			got = append(got, c.Owner.Label)
		}
		if !slices.Equal(want, got) || len(v.Holders) != min(len(got), 1) {
			q.m.t.Fatalf("%s: %v hold or wait, want %v", name, got, want)
		}
	}
}

// TestReqIDModel: commands that are sent again and again, by clients that hang up at any moment, have their effect once.
func TestReqIDModel(t *testing.T) {
	for seed := range uint64(8) {
		testReqIDModel(t, seed)
	}
}

func testReqIDModel(t *testing.T, seed uint64) {
	m := newManual(t, seed)
	q := &queueModel{m: m, queues: map[string][]*queued{}, known: map[string]*queued{}, seqs: map[string]string{}}
	m.hook(func(sess *session.Session, name string, args []string, reply string) {
		if strings.Contains(name, ".") {
			q.executed(sess, name, args, reply)
		}
	})
	m.after = q.check
	watcher := m.connect(false)
	watcher.cmd("SUBSCRIBE", "x")
	m.settle()
	clients := []*resender{{name: "0"}, {name: "1"}, {name: "2"}, {name: "3"}}
	ids := 0
	next := func() string { ids++; return fmt.Sprint(ids) }
	act := func(c *resender) {
		switch {
		case c.end == nil:
			c.end, c.sent = m.connect(false), nil
			for _, words := range [][]string{c.holds, c.op} {
				if words != nil {
					c.send(words)
				}
			}
			return
		case len(c.sent) > 0:
			return
		case m.random.IntN(3) == 0:
			id := next()
			c.op = []string{"BUS.PUB", "x", id, "REQID", id}
		case c.holds != nil:
			c.op = []string{"LOCK.RELEASE", c.holds[1], c.token, "REQID", next()}
		default:
			c.op = []string{"LOCK.ACQUIRE", []string{"a", "b"}[m.random.IntN(2)], "OWNER", c.name, "REQID", next()}
		}
		c.send(c.op)
	}
	read := func(c *resender) {
		for c.end != nil && c.end.read(64<<10) {
		}
		for c.end != nil && len(c.end.got) > 0 {
			n := conn.ValueLen(c.end.got)
			text := string(c.end.got[:n])
			c.end.got = c.end.got[n:]
			words := c.sent[0]
			if wrong := c.answered(q, text); wrong != "" {
				t.Fatalf("seed %d: client %s got %q for %q: it %s", seed, c.name, text, words, wrong)
			}
		}
	}
	for skips := 0; ids < 150; {
		c := clients[m.random.IntN(len(clients))]
		switch n := m.random.IntN(20); {
		case n < 8:
			act(c)
		case n < 10:
			if c.end != nil {
				c.end.close()
				c.end = nil
			}
		case n < 14:
			read(c)
		case n == 19 && skips < 20 && m.random.IntN(4) == 0:
			skips++
			for m.step() {
			}
			m.skip(locks.Grace)
			q.graceOver()
			m.turn([]unix.EpollEvent{})
			q.check()
		default:
			m.step()
		}
	}
	// All come to an end.
	for busy := true; busy; {
		busy = false
		for m.step() {
		}
		for _, c := range clients {
			read(c)
			switch {
			case c.end == nil:
				act(c)
			case c.op == nil && c.holds != nil && len(c.sent) == 0:
				c.op = []string{"LOCK.RELEASE", c.holds[1], c.token, "REQID", next()}
				c.send(c.op)
			}
			busy = busy || c.op != nil || c.holds != nil
		}
	}
	published := map[string]int{}
	for _, text := range strings.Split(watcher.take(), "message\r\n")[1:] {
		published[strings.Split(text, "\r\n")[3]]++
	}
	for id := range q.seqs {
		if published[id] != 1 {
			t.Errorf("seed %d: %s was published %d times", seed, id, published[id])
		}
	}
	if len(published) != len(q.seqs) || len(published) == 0 {
		t.Errorf("seed %d: %d messages, %d were sent", seed, len(published), len(q.seqs))
	}
	q.check()
}

func between(text, before, after string) string {
	_, rest, ok := strings.Cut(text, before)
	if !ok {
		return ""
	}
	found, _, _ := strings.Cut(rest, after)
	return found
}
