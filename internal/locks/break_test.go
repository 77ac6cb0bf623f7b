package locks

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestManyHoldsBroken: a lock is taken away from very many some in a step. In between others are served, who is granted the lock
// keeps it, and who broke it is told in the end of all who had it.
func TestManyHoldsBroken(t *testing.T) {
	const n = mostShown + 3*mostEnded + 1
	m := newManual(t, many)
	m.ends.Over = func() bool { return true } // one step in each turn
	holder, next, breaker := m.connectAs(1001, false), m.connectAs(1001, false), m.connectAs(1001, false)
	for i := range n {
		holder.cmd("LOCK.ACQUIRE", "a", "SHARED", "OWNER", strconv.Itoa(i))
		m.settle()
	}
	holder.take()
	breaker.cmd("LOCK.BREAK", "a", "WHY", "too many", "REQID", "1")
	m.read(breaker)
	next.cmd("LOCK.ACQUIRE", "a", "SHARED", "OWNER", "next", "WAIT", "0")
	m.read(next)
	m.set.EndTurn() // whatever time it took is no part of the next
	for left := n - mostEnded; ; left -= mostEnded {
		m.set.Net.FlushAll()
		if m.held != left+1 || !m.ends.Waiting() || breaker.take() != "" {
			t.Fatalf("%d are held, want %d", m.held, left+1)
		}
		m.turn(nil)
		if left <= mostEnded {
			break
		}
	}
	m.settle()
	if got := strings.Count(string(breaker.got), "$5\r\ntoken"); got != n || m.held != 1 || m.ends.Waiting() {
		t.Errorf("the breaker is told of %d of %d, and %d are held: %q", got, n, m.held, breaker.got)
	}
	again := m.connectAs(1001, false)
	again.cmd("LOCK.BREAK", "a", "WHY", "too many", "REQID", "1")
	m.settle()
	if string(again.got) != string(breaker.got) || m.held != 1 {
		t.Errorf("a repeat is told %q, want %q; %d are held", again.got, breaker.got, m.held)
	}
}

// TestManyBrokenWithDescriptors: of very many who lost a lock some are shown in a step, too, where descriptors come with the reply. If
// they cannot go with it, as the socket is full when it is ready, it says so.
func TestManyBrokenWithDescriptors(t *testing.T) {
	for _, full := range []bool{false, true} {
		const n = 40 * mostEnded
		m := newManual(t, many)
		holder, breaker := m.connectAs(1001, false), m.connectAs(1001, full)
		for i := range n {
			holder.cmd("LOCK.ACQUIRE", "a", "SHARED", "OWNER", strconv.Itoa(i))
			m.settle()
		}
		breaker.cmd("LOCK.BREAK", "a", "PIDFD")
		m.read(breaker)
		for m.ends.Waiting() {
			m.set.EndTurn() // whatever time it took is no part of the next
			m.ends.Turn()
		}
		if full {
			m.of(breaker).Send([]byte("+" + strings.Repeat("x", 64<<10) + "\r\n"))
		}
		task := m.of(breaker).Task()
		if task == nil || len(task.Rights) != 1 {
			t.Fatalf("it is answered at once, or without a descriptor: %+v", task)
		}
		step, shown := task.Step, 0
		task.Step = func(b []byte) ([]byte, bool) {
			before := len(b)
			b, more := step(b)
			got := strings.Count(string(b[before:]), "$5\r\ntoken")
			if shown += got; got != mostEnded || more != (shown < n) {
				t.Errorf("%d are shown in a step, and there are more: %v", got, more)
			}
			return b, more
		}
		for shown < n {
			m.turn(nil)
		}
		want := "1"
		if full {
			want = "0"
		}
		b, oob := make([]byte, 1<<20), make([]byte, unix.CmsgSpace(4*maxRights))
		got, oobn, _, _, err := unix.Recvmsg(breaker.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil || full != (oobn == 0) {
			t.Fatalf("%v: got %d bytes of descriptors", err, oobn)
		}
		for _, m := range must(unix.ParseSocketControlMessage(oob[:oobn])) {
			for _, fd := range must(unix.ParseUnixRights(&m)) {
				_ = unix.Close(fd)
			}
		}
		breaker.got = b[:got]
		m.settle()
		if c := strings.Count(string(breaker.got), "$5\r\npidfd\r\n:1\r\n"); strconv.Itoa(c) != want || strings.Count(string(breaker.got), "$5\r\ntoken") != n {
			t.Errorf("full %v: %d of %d have a descriptor", full, c, n)
		}
		if len(task.Rights) > 0 {
			t.Error("descriptors are open still")
		}
	}
}
