package server

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
)

const needsStatus = "the exit status of a process that is not one's child"

// TestProcessEnds: how the process ended that held a lock, as far as the kernel tells, and whether that counts as an
// accident. The hold is the process's alone, so the end of its connection says nothing.
func TestProcessEnds(t *testing.T) {
	for _, c := range []struct {
		name      string
		reaped    bool
		status    int
		signal    syscall.Signal // 0: it exits
		previous  string
		abandoned bool
	}{
		{"exited", true, 3, 0, "exited 3", false},
		{"exited well", true, 0, 0, "exited 0", false},
		{"killed", true, 0, syscall.SIGKILL, "killed 9", true},
		{"terminated", true, 0, syscall.SIGTERM, "killed 15", true},
		{"exited, and not reaped", false, 3, 0, "exited 3", false},
		{"exited well, and not reaped", false, 0, 0, "exited 0", false},
		{"killed, and not reaped", false, 0, syscall.SIGKILL, "killed 9", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.reaped {
				testenv.Kernel(t, 6, 15, needsStatus)
			}
			h := start(t, func(s *Setup, _ *Options) {
				if c.reaped { // however busy the machine is, the parent comes to it
					s.EndingTime = patience
				}
			})
			var p *child
			if c.reaped {
				p = h.reaped(c.status)
			} else {
				p = h.client(c.status)
			}
			p.acquire("a", "FOR", "self")
			waiter := h.dial()
			h.queue(waiter, "a")
			if c.signal == 0 {
				p.end()
			} else {
				p.kill(c.signal)
			}
			g := waiter.granted()
			abandoned := ""
			if c.abandoned {
				abandoned = fmt.Sprintf("pid %d (uid %d", p.pid, os.Getuid())
			}
			if g.previous != c.previous || !strings.HasPrefix(g.abandoned, abandoned) || (abandoned == "") != (g.abandoned == "") ||
				abandoned != "" && !strings.HasSuffix(g.abandoned, " "+c.previous) {
				t.Errorf("got %+v, want %q, abandoned %q", g, c.previous, abandoned)
			}
			if said := strings.Contains(h.log.String(), "a lock was abandoned"); said != c.abandoned {
				t.Errorf("logged as abandoned: %v", said)
			}
			// An accident is told once.
			waiter.do("LOCK.RELEASE", "a")
			if g := waiter.acquire("a"); g.previous != "released" || g.abandoned != "" {
				t.Errorf("got %+v afterwards", g)
			}
			h.claims(1)
		})
	}
}

// TestDisconnected: the connection ends, and the process does not.
func TestDisconnected(t *testing.T) {
	h := start(t)
	c, waiter := h.dial(), h.dial()
	c.acquire("bound")
	c.acquire("self", "FOR", "self")
	h.queue(waiter, "bound", "OWNER", "w")
	c.close()
	if g := waiter.granted(); g.previous != "disconnected" || !strings.HasSuffix(g.abandoned, " disconnected") {
		t.Errorf("got %+v", g)
	}
	waiter.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "self", "WAIT", "0", "OWNER", "w")
	h.claims(2)
}

// TestEndings goes through the moment in which the end of a connection is known and that of its process is not, event by
// event, on a clock of its own: a process that was killed loses its connection first.
func TestEndings(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		reaped  bool // before its end is seen
		connAt  time.Duration
		exitAt  time.Duration // 0: not seen
		reapAt  time.Duration // 0: not seen
		changes map[time.Duration]string
	}{
		{"the connection alone", false, 10 * ms, 0, 0, map[time.Duration]string{14 * ms: "", 15 * ms: "disconnected"}},
		{"then the process, not reaped", false, 10 * ms, 13 * ms, 0, map[time.Duration]string{14 * ms: "", 15 * ms: "", 17 * ms: "", 18 * ms: "unreaped"}},
		{"at the same time, not reaped", false, 10 * ms, 10 * ms, 0, map[time.Duration]string{14 * ms: "", 15 * ms: "unreaped"}},
		{"at the same time, reaped late", false, 10 * ms, 10 * ms, 17 * ms, map[time.Duration]string{15 * ms: "unreaped", 16 * ms: "unreaped", 17 * ms: "killed 9"}},
		{"then the process, reaped", true, 10 * ms, 13 * ms, 0, map[time.Duration]string{12 * ms: "", 13 * ms: "killed 9"}},
		{"then the process, then reaped", false, 10 * ms, 13 * ms, 16 * ms, map[time.Duration]string{15 * ms: "", 16 * ms: "killed 9"}},
		{"the process before the connection", false, 14 * ms, 10 * ms, 0, map[time.Duration]string{14 * ms: "", 15 * ms: "unreaped"}},
		{"the process alone, then reaped", false, 0, 10 * ms, 12 * ms, map[time.Duration]string{11 * ms: "", 12 * ms: "killed 9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.exitAt != 0 {
				testenv.Kernel(t, 6, 15, needsStatus)
			}
			m := newManual(t, 1)
			// The process is another's than the client's: what is tested is the order of events, not who connected.
			idle := spawn(t, nil, "idle", "0")
			client := m.connect(false)
			client.cmd("LOCK.ACQUIRE", "a", "OWNER", "x")
			m.settle()
			own := ownPIDFD(t)
			pidfd := pidfd(t, idle.pid)
			m.impersonate(own, pidfd)

			idle.kill(syscall.SIGKILL)
			wait := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
			if n, err := unix.Poll(wait, int(patience.Milliseconds())); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			if c.reaped {
				_ = idle.cmd.Wait()
			}
			began := m.set.Loop.Clock.Read()
			for step := ms; step <= 20*ms; step += ms {
				var events []unix.EpollEvent
				if step == c.connAt {
					client.close()
					events = append(events, client.event(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLRDHUP))
				}
				if step == c.reapAt {
					_ = idle.cmd.Wait()
				}
				if step == c.exitAt || step == c.reapAt {
					events = append(events, unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(own), Pad: pidfdKind})
				}
				m.at(began+step, events...)
				want, ok := c.changes[step]
				if !ok {
					continue
				}
				v := m.locks.View("a")
				if (want == "") != (len(v.Holders) == 1) || v.Previous.String() != want {
					t.Fatalf("after %v: %d holders, %q before; want %q", step, len(v.Holders), v.Previous, want)
				}
				if v.Abandoned.String() != want { // each of them is an accident, or may be one
					t.Errorf("abandoned: %v", v.Abandoned)
				}
			}
		})
	}
}

// ownPIDFD is the pidfd by which the server watches this process.
func ownPIDFD(t *testing.T) int {
	t.Helper()
	for fd, what := range descriptors(t) {
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd)
		if err == nil && strings.Contains(what, "pidfd") && strings.Contains(string(info), fmt.Sprintf("Pid:\t%d\n", os.Getpid())) {
			n, _ := strconv.Atoi(fd)
			return n
		}
	}
	t.Fatal("this process is not watched")
	return -1
}

// impersonate has another process's pidfd stand for one that the server has.
func (m *manual) impersonate(own, pidfd int) {
	m.t.Helper()
	if err := unix.Dup3(pidfd, own, unix.O_CLOEXEC); err != nil {
		m.t.Fatal(err)
	}
}

// TestForeignProcess: a lock for another process is its own, and ends with it.
func TestForeignProcess(t *testing.T) {
	h := start(t)
	idle := spawn(t, nil, "idle", "0")
	fd := pidfd(t, idle.pid)
	c := h.dial()
	c.cmdFDs([]int{fd}, "LOCK.ACQUIRE", "a", "FOR", "pid", "WHY", "for you")
	c.granted()
	holder := c.do("LOCK.INFO", "a").Get("holders").Elems[0]
	if holder.Get("pid").Int != int64(idle.pid) || holder.Get("bound").Str != "process" || holder.Get("why").Str != "for you" {
		t.Errorf("got %+v", holder)
	}
	// It is not the client's: not released without its token, not gone with the connection.
	c.refused(wire.CodeNoLock, "", "LOCK.RELEASE", "a")
	waiter := h.dial()
	h.queue(waiter, "a")
	c.close()
	h.quiesce(waiter)
	h.claims(2)
	idle.kill(syscall.SIGKILL)
	if g := waiter.granted(); g.previous != "killed 9" {
		t.Errorf("got %+v", g)
	}
	h.claims(1)
}

// TestForeignUser: root may name any process, others only their own. The lock is charged to the process's user, and may
// be given back by that user, and by root.
func TestForeignUser(t *testing.T) {
	testenv.Root(t)
	const uid, stranger = 4321, 4322
	h := start(t)
	mine := spawn(t, []func(*exec.Cmd){as(uid)}, "idle", "0")

	c := h.dial()
	c.cmdFDs([]int{pidfd(t, mine.pid)}, "LOCK.ACQUIRE", "a", "FOR", "pid")
	g := c.granted()
	h.on(func() {
		if u := h.set.Users.Find(uid); u == nil || u.Used(account.Locks) != 1 {
			t.Errorf("the user is charged %+v", u)
		}
	})

	const request = "LOCK.ACQUIRE b FOR pid\r\n"
	denied := spawn(t, []func(*exec.Cmd){as(stranger)}, "send", h.address, fmt.Sprint(mine.pid), request)
	denied.fails(wire.CodeDenied, fmt.Sprintf("process %d is user %d's, not yours", mine.pid, uid))
	granted := spawn(t, []func(*exec.Cmd){as(uid)}, "send", h.address, fmt.Sprint(mine.pid), request)
	granted.granted()

	other := h.client(0, as(stranger))
	other.refused(wire.CodeDenied, fmt.Sprintf("is held by user %d", uid), "LOCK.RELEASE", "a", g.token)
	other.refused(wire.CodeDenied, "names under ipcd/ are the daemon's own", "LOCK.RELEASE", "ipcd/x")
	other.refused(wire.CodeDenied, "is for root", "IPCD.RELOAD")
	other.refused(wire.CodeDenied, "only root", "CLIENT", "KILL", "ID", "1")
	own := h.client(0, as(uid))
	own.do("LOCK.RELEASE", "a", g.token)
	root := h.dial()
	b := root.do("LOCK.INFO", "b").Get("holders").Elems[0].Get("token").Text()
	root.do("LOCK.RELEASE", "b", b)
	h.claims(0)
}

// TestLockAfterExit: a connection whose process has ended, inherited by another, can hold no lock.
func TestLockAfterExit(t *testing.T) {
	m := newManual(t, 1)
	idle := spawn(t, nil, "idle", "0")
	client := m.connect(false)
	client.cmd("LOCK.ACQUIRE", "a")
	client.cmd("LOCK.RELEASE", "a")
	m.settle()
	client.take()
	own := ownPIDFD(t)
	fd := pidfd(t, idle.pid)
	m.impersonate(own, fd)
	idle.end()
	_ = idle.cmd.Wait()
	m.turn([]unix.EpollEvent{{Events: unix.EPOLLIN, Fd: int32(own), Pad: pidfdKind}})
	client.cmd("LOCK.ACQUIRE", "a")
	client.cmd("PING")
	m.settle()
	if got := client.take(); !strings.HasPrefix(got, "-NOTFOUND process ") || !strings.HasSuffix(got, " has ended\r\n+PONG\r\n") {
		t.Errorf("got %q", got)
	}
}
