package server

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A task is a command that has more to do than a turn has time for: a listing of all locks, the end of 100,000 subscriptions. It
// is done bit by bit, and its connection waits meanwhile, as for a lock. What it shows of many things is each as it was when
// it was looked at.
type task struct {
	// step does a little, which takes some microseconds, appends what there is to say of it, and reports whether there is more
	// to do.
	step func(b []byte) (_ []byte, more bool)
	// slow says that a step may take longer, as one that finds out what there is to do: so the clock is looked at after the first
	// of a turn, too.
	slow bool
	// head appends what the reply begins with, of which only the end tells how many elements it has. If it is nil, each
	// step says whole values, which are sent as they come.
	head func(b []byte) []byte
	out  []byte // what was said: behind headRoom, if there is a head
	held int    // bytes that it keeps beside that, roughly
	done bool   // all is said, and waits for the socket: see heldUp

	mapping []byte // where out is, if it is long: see long.go

	// Descriptors that go beside the reply, and where in out it says of each, by a 1, that it comes.
	rights   []int
	promises []int
}

// noHead is the head of a reply that is made from its beginning, and sent as a whole.
func noHead(b []byte) []byte { return b }

const (
	// headRoom is for what task.head appends.
	headRoom = 32
	// fewBytes is how much of whole values is said before it is sent.
	fewBytes = 1 << 10
	// stride is after how many steps the clock is looked at, unless they are slow.
	stride = 16
)

// perform executes a command by steps: as many as fit into this turn, and the others later.
func (s *Server) perform(c *call, t *task) {
	if t.head != nil {
		t.out = append(t.out, make([]byte, headRoom)...)
	}
	t.done = !s.advance(c.sess, t)
	if t.done && !s.heldUp(c.sess, t) {
		s.endTask(c.sess, t)
		return
	}
	s.keepTask(c.sess, t)
	a := c.later()
	a.await()
	if !t.done {
		c.sess.Queue()
	}
}

// keepTask has a session be about a task.
func (s *Server) keepTask(sess *session, t *task) {
	sess.extra().task = t
	sess.Keep(t.memory())
}

// heldUp reports whether a long reply has to wait until the socket has taken what was said before it: to copy it behind that
// would take some milliseconds. Descriptors do not wait with it, or they would be open for as long as the peer likes.
func (s *Server) heldUp(sess *session, t *task) bool {
	if t.mapping == nil || sess.is(stateExec) || s.stopping || !sess.HeldUp() {
		return false
	}
	t.breakPromises()
	return true
}

// advance does steps of a task for as long as a session may, and reports whether there are more.
func (s *Server) advance(sess *session, t *task) (more bool) {
	begun := time.Since(s.started)
	for i := 1; ; i++ {
		t.makeRoom()
		t.out, more = t.step(t.out)
		t.moved()
		if !more {
			return false
		}
		if t.head == nil && len(t.out) > fewBytes {
			s.confirmTo(sess, t.out)
			t.out = t.out[:0]
		}
		if (i == 1 && t.slow || i%stride == 0) && time.Since(s.started)-begun > timeSlice && !s.stopping {
			return true
		}
	}
}

// goOnWith goes on with the task of a session.
func (s *Server) goOnWith(sess *session) {
	t := sess.more.task
	if t.done = t.done || !s.advance(sess, t); !t.done {
		sess.Keep(t.memory())
		err := sess.user().Room(account.Buffers, 0)
		if err == nil {
			sess.Queue()
			return
		}
		t.head = nil
		t.closeRights()
		if t.mapping != nil {
			t.unmap()
			t.out = nil
		}
		t.out = wire.AppendError(t.out[:0], wire.CodeQuota, err.Error())
	} else if s.heldUp(sess, t) {
		sess.Keep(t.memory())
		return
	}
	sess.more.task = nil
	sess.Keep(0)
	s.endTask(sess, t)
	s.goOnAfter(sess)
}

// endTask sends what a task has to say at its end. What is long is not copied, unless there is something to be sent before it.
func (s *Server) endTask(sess *session, t *task) {
	b, from := t.out, 0
	if t.head != nil {
		var room [headRoom]byte
		head := t.head(room[:0])
		from = headRoom - len(head)
		copy(b[from:], head)
		if sess.is(stateReplyOff | stateReplySkip) {
			b = b[:from]
		}
	}
	if t.rights != nil && sendWithRights(sess, t, b[from:]) {
		return
	}
	if sess.is(stateExec) {
		s.confirmTo(sess, b[from:])
		if t.mapping != nil {
			t.unmap()
		}
		return
	}
	if t.mapping != nil && sess.SendMapped(t.mapping, from, len(b), nil) {
		t.mapping = nil
		return
	}
	sess.Send(b[from:])
	if t.mapping != nil {
		t.unmap()
	}
}

// sendWithRights sends what is the end of a task's output with descriptors beside it. It reports false if the socket does not take them
// now, or the reply is left out, or one of many in that to EXEC: then nothing is sent, and the output says so.
func sendWithRights(sess *session, t *task, b []byte) bool {
	switch {
	case len(b) == 0 || sess.is(stateExec):
	case t.mapping == nil && sess.SendRights(b, t.rights),
		t.mapping != nil && sess.SendMapped(t.mapping, len(t.out)-len(b), len(t.out), t.rights):
		t.mapping = nil
		t.closeRights()
		return true
	}
	t.breakPromises()
	return false
}

// breakPromises closes the descriptors of a task that has said all, and has its output say that none comes.
func (t *task) breakPromises() {
	for _, i := range t.promises {
		t.out[i] = '0'
	}
	t.closeRights()
}

func (t *task) closeRights() {
	for _, fd := range t.rights {
		_ = unix.Close(fd)
	}
	t.rights, t.promises = nil, nil
}

// memory is what a task keeps.
func (t *task) memory() int { return cap(t.out) + t.held }

// dropTask frees what the task of a session keeps that has ended.
func (s *session) dropTask() {
	if x := s.more; x != nil && x.task != nil {
		x.task.closeRights()
		if x.task.mapping != nil {
			x.task.unmap()
		}
		x.task = nil
	}
}
