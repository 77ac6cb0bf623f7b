package session

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A Task is a command that has more to do than a turn has time for: a listing of all locks, the end of 100,000 subscriptions. It
// is done bit by bit, and its connection waits meanwhile, as for a lock. What it shows of many things is each as it was when
// it was looked at.
type Task struct {
	// Step does a little, which takes some microseconds, appends what there is to say of it, and reports whether there is more
	// to do.
	Step func(b []byte) (_ []byte, more bool)
	// Ready reports whether the next step may be made now. If not, it has seen to it that the session is queued when it may. nil: it
	// always may.
	Ready func() bool
	// Slow says that a step may take longer, as one that finds out what there is to do: so the clock is looked at after the first
	// of a turn, too.
	Slow bool
	// Head appends what the reply begins with, of which only the end tells how many elements it has. If it is nil, each
	// step says whole values, which are sent as they come.
	Head   func(b []byte) []byte
	output      // what was said: behind headRoom, if there is a head
	Held   int  // bytes that it keeps beside that, roughly
	done   bool // all is said, and waits for the socket: see heldUp
	idle   bool // it waits for being ready

	// Descriptors that go beside the reply, and where in out it says of each, by a 1, that it comes.
	Rights   []int
	Promises []int
}

// NoHead is the head of a reply that is made from its beginning, and sent as a whole.
func NoHead(b []byte) []byte { return b }

const (
	// headRoom is for what Task.Head appends.
	headRoom = 32
	// fewBytes is how much of whole values is said before it is sent.
	fewBytes = 1 << 10
	// Stride is after how many steps the clock is looked at, unless they are slow.
	Stride = 16
)

// Perform executes a command by steps: as many as fit into this turn, and the others later.
func (c *Call) Perform(t *Task) {
	s := c.Session
	if t.Head != nil {
		t.out = append(t.out, make([]byte, headRoom)...)
	}
	t.done = !s.advance(t)
	if t.done && !s.heldUp(t) {
		s.endTask(t)
		return
	}
	s.keepTask(t)
	a := c.Later()
	a.Await()
	if !t.done && !t.idle {
		s.Queue()
	}
}

// PerformEach executes a command by one step for each of these. What a step appends is sent, or is some of the reply that begins with a
// head: see Task.Head. ready says whether it is time for the next, as Task.Ready does; nil: it always is.
func (c *Call) PerformEach(texts []string, head func(b []byte) []byte, ready func(text string) bool, one func(b []byte, text string) []byte) {
	t := &Task{Head: head, Step: func(b []byte) ([]byte, bool) {
		if len(texts) == 0 {
			return b, false
		}
		b = one(b, texts[0])
		texts = texts[1:]
		return b, true
	}}
	if ready != nil {
		t.Ready = func() bool { return len(texts) == 0 || ready(texts[0]) }
	}
	for _, text := range texts {
		t.Held += len(text) + int(unsafe.Sizeof(text))
	}
	c.Perform(t)
}

// Perform has a session that waits for an answer get it by steps, all of them later.
func (s *Session) Perform(t *Task) {
	if t.Head != nil {
		t.out = make([]byte, headRoom)
	}
	s.keepTask(t)
	s.Queue()
}

// Task is what the session waits for, if that is its own work; else nil.
func (s *Session) Task() *Task {
	if s.more == nil {
		return nil
	}
	return s.more.task
}

// Done reports whether all is said: what is left is to send it.
func (t *Task) Done() bool { return t.done }

// Said is how much was said until now, without the head.
func (t *Task) Said() int { return len(t.out) - headRoom }

// keepTask has a session be about a task.
func (s *Session) keepTask(t *Task) {
	s.extra().task = t
	s.Keep(t.memory())
}

// heldUp reports whether a long reply has to wait: see heldUpBy. Descriptors do not wait with it, or they would be open for as long as the
// peer likes.
func (s *Session) heldUp(t *Task) bool {
	if s.Is(InExec) || !s.heldUpBy(&t.output) {
		return false
	}
	t.breakPromises()
	return true
}

// advance does steps of a task for as long as a session may, and reports whether there are more.
func (s *Session) advance(t *Task) (more bool) {
	for i := 1; ; i++ {
		if t.idle = t.Ready != nil && !t.Ready(); t.idle {
			return true
		}
		t.makeRoom(stepRoom)
		t.out, more = t.Step(t.out)
		t.moved()
		if !more {
			return false
		}
		if t.Head == nil && len(t.out) > fewBytes {
			s.Confirm(t.out)
			t.out = t.out[:0]
		}
		if (i == 1 && t.Slow || i%Stride == 0) && s.set.Net.Over() && !s.set.Stopping {
			return true
		}
	}
}

// goOnWithTask goes on with the task of a session.
func (s *Session) goOnWithTask() {
	t := s.more.task
	if t.done = t.done || !s.advance(t); !t.done {
		s.Keep(t.memory())
		err := s.roomForReply(t)
		if err == nil {
			if !t.idle {
				s.Queue()
			}
			return
		}
		t.Head = nil
		t.closeRights()
		if t.mapping != nil {
			t.unmap()
			t.out = nil
		}
		t.out = wire.AppendError(t.out[:0], wire.CodeQuota, err.Error())
	} else if s.heldUp(t) {
		s.Keep(t.memory())
		return
	}
	s.more.task = nil
	s.Keep(0)
	s.endTask(t)
	s.goOnAfter()
}

// endTask sends what a task has to say at its end. What is long is not copied, unless there is something to be sent before it.
func (s *Session) endTask(t *Task) {
	b, from := t.out, 0
	if t.Head != nil {
		var room [headRoom]byte
		head := t.Head(room[:0])
		from = headRoom - len(head)
		copy(b[from:], head)
		if s.Is(ReplyOff | ReplySkip) {
			b = b[:from]
		}
	}
	if t.Rights != nil && s.sendWithRights(t, b[from:]) {
		return
	}
	if s.Is(InExec) {
		s.Confirm(b[from:])
		t.unmap()
		return
	}
	if !s.sendLong(&t.output, from, nil) {
		s.Send(b[from:])
		t.unmap()
	}
}

// roomForReply says why a task may say no more.
func (s *Session) roomForReply(t *Task) error {
	if s.Is(InExec) {
		if err := s.more.transaction.tooLong(&t.output); err != nil {
			return err
		}
	}
	return s.User().Room(account.Buffers, 0)
}

// sendWithRights sends what is the end of a task's output with descriptors beside it. It reports false if the socket does not take them
// now, or the reply is left out, or one of many in that to EXEC: then nothing is sent, and the output says so.
func (s *Session) sendWithRights(t *Task, b []byte) bool {
	switch {
	case len(b) == 0 || s.Is(InExec):
	case t.mapping == nil && s.SendRights(b, t.Rights), s.sendLong(&t.output, len(t.out)-len(b), t.Rights):
		t.closeRights()
		return true
	}
	t.breakPromises()
	return false
}

// breakPromises closes the descriptors of a task that has said all, and has its output say that none comes.
func (t *Task) breakPromises() {
	for _, i := range t.Promises {
		t.out[i] = '0'
	}
	t.closeRights()
}

func (t *Task) closeRights() {
	for _, fd := range t.Rights {
		_ = unix.Close(fd)
	}
	t.Rights, t.Promises = nil, nil
}

// memory is what a task keeps.
func (t *Task) memory() int { return cap(t.out) + t.Held }

// dropTask frees what the task of a session keeps that has ended.
func (s *Session) dropTask() {
	if x := s.more; x != nil && x.task != nil {
		x.task.closeRights()
		x.task.unmap()
		x.task = nil
	}
}
