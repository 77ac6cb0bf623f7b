package hostile

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// waiters is how many wait for a lock.
func waiters(t testing.TB, p *testdaemon.Peer) int { return status(t, p, "locks_waiting") }

// A waiter that hangs up is out of the queue at once, wherever it was in it, and however it goes.
func TestHangUpInQueue(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	b := watch(t, d)
	observer := d.Dial(t)
	holder := spawn(t, d)
	holder.tell("do a LOCK.ACQUIRE l")
	var queue []*process
	for i := range 6 {
		p := spawn(t, d)
		p.tell("send a LOCK.ACQUIRE l")
		eventually(t, "it waits", func() bool { return waiters(t, observer) == i+1 })
		queue = append(queue, p)
	}
	queue[0].die()
	eventually(t, "the first is gone", func() bool { return waiters(t, observer) == 5 })
	queue[2].tell("close a")
	eventually(t, "the third is gone", func() bool { return waiters(t, observer) == 4 })
	queue[5].die()
	eventually(t, "the last is gone", func() bool { return waiters(t, observer) == 3 })
	for i, who := range []int{1, 3, 4} {
		if i == 0 {
			holder.tell("do a LOCK.RELEASE l")
		} else {
			queue[[]int{1, 3, 4}[i-1]].tell("do a LOCK.RELEASE l")
		}
		if got := field(t, queue[who].tell("read a"), "previous"); got != "released" {
			t.Errorf("%d: previous %q", who, got)
		}
	}
	b.calm()
}

// A half-close means: execute what came, answer, cancel waits.
func TestHalfCloseWhileWaiting(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	holder := spawn(t, d)
	holder.tell("do a LOCK.ACQUIRE l")
	input := testdaemon.Cmd("PING", "1") + testdaemon.Cmd("LOCK.ACQUIRE", "l") + testdaemon.Cmd("LOCK.ACQUIRE", "l") +
		testdaemon.Cmd("LOCK.ACQUIRE", "free") + testdaemon.Cmd("PING", "2")
	check := func(t *testing.T, p *testdaemon.Peer) {
		t.Helper()
		p.Want("$1\r\n1\r\n")
		for range 2 {
			if got := p.Frame(); !strings.HasPrefix(got, "-CANCELLED ") {
				t.Errorf("got %q", got)
			}
		}
		if got := field(t, p.Frame(), "name"); got != "free" {
			t.Errorf("got %q", got)
		}
		p.Want("$1\r\n2\r\n")
		p.WantEnd()
		observer := d.Dial(t)
		eventually(t, "its locks are free", func() bool { return status(t, observer, "locks_held") == 1 })
		_ = observer.Close()
	}
	t.Run("at once", func(t *testing.T) {
		d.Signal(syscall.SIGSTOP) // so that it is seen with the commands
		p := d.Dial(t)
		p.Send(input)
		if err := p.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		d.Signal(syscall.SIGCONT)
		check(t, p)
	})
	t.Run("later", func(t *testing.T) {
		p, observer := d.Dial(t), d.Dial(t)
		p.Send(input)
		eventually(t, "it waits", func() bool { return waiters(t, observer) == 1 })
		if err := p.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		check(t, p)
	})
}

// The next holder is told how the hold before it ended, whether its process died or only its connection.
func TestHowItEnded(t *testing.T) {
	testenv.Kernel(t, 6, 15, "the status of a process that is gone")
	d := testdaemon.Start(t, testdaemon.Config{})
	b := watch(t, d)
	observer := d.Dial(t)
	for _, c := range []struct {
		name, how string
		acquire   string
		end       func(*process)
	}{
		{"released", "released", "", func(p *process) { p.tell("do a LOCK.RELEASE l") }},
		{"exited 3", "exited 3", "", func(p *process) { _, _ = fmt.Fprintln(p.in, "exit 3"); _ = p.cmd.Wait() }},
		{"killed 9", "killed 9", "", func(p *process) { p.die() }},
		{"killed 15", "killed 15", "", func(p *process) { _ = p.cmd.Process.Signal(syscall.SIGTERM); _ = p.cmd.Wait() }},
		{"disconnected", "disconnected", "", func(p *process) { p.tell("close a") }},
		{"for itself, disconnected, then killed", "killed 9", "FOR self", func(p *process) {
			p.tell("close a")
			settled(t, observer, 3) // itself, the bystander, the one who waits
			if n := status(t, observer, "locks_held"); n != 1 {
				t.Errorf("%d locks held", n)
			}
			p.die()
		}},
		{"a child has the connection", "exited 3", "", func(p *process) { p.tell("heir"); _, _ = p.cmd.Process.Wait() }},
		{"a child has the connection, for itself", "exited 3", "FOR self", func(p *process) { p.tell("heir"); _, _ = p.cmd.Process.Wait() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			holder, next := spawn(t, d), spawn(t, d)
			if got := field(t, holder.tell("do a LOCK.ACQUIRE l %s", c.acquire), "name"); got != "l" {
				t.Fatalf("got %q", got)
			}
			next.tell("send a LOCK.ACQUIRE l")
			eventually(t, "it waits", func() bool { return waiters(t, observer) == 1 })
			c.end(holder)
			got := next.tell("read a")
			if how := field(t, got, "previous"); how != c.how {
				t.Errorf("got %q, want %q", how, c.how)
			}
			abandoned := field(t, got, "abandoned")
			if want := strings.HasPrefix(c.how, "killed") || c.how == "disconnected"; (abandoned != "") != want {
				t.Errorf("abandoned: %q", abandoned)
			}
			next.tell("do a LOCK.RELEASE l")
			next.tell("close a")
			_, _ = fmt.Fprintln(holder.in, "exit 0") // the heir, if there is one
			settled(t, observer, 2)
		})
	}
	b.calm()
}

// A child that has the connections of a process that is gone cannot take a lock in its name: nobody would ever see
// that end.
func TestHeirs(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	b := watch(t, d)
	for i, options := range []string{"", "FOR self", "WAIT 0", "FOR self OWNER x"} {
		for _, conn := range []string{"a", "b"} {
			t.Run(options+" on "+conn, func(t *testing.T) {
				lock := fmt.Sprintf("l%d%s", i, conn)
				p := spawn(t, d)
				p.tell("do a LOCK.ACQUIRE other%s", conn) // on a the daemon knows the process, on b it knows only of it
				p.tell("do b PING")
				p.tell("heir")
				_, _ = p.cmd.Process.Wait() // not of cmd: the heir has its pipes
				next := d.Dial(t)
				next.Do("LOCK.ACQUIRE", "other"+conn, "WAIT", "20000") // the parent's end was seen
				next.Do("LOCK.RELEASE", "other"+conn)
				got := p.tell("do %s LOCK.ACQUIRE %s %s", conn, lock, options)
				t.Logf("%.100q", got)
				// However that is answered, the lock is not lost.
				if got := next.Do("LOCK.ACQUIRE", lock, "WAIT", "2000"); got[0] == '-' {
					t.Errorf("the lock is not free: %q", got)
				}
				_, _ = fmt.Fprintln(p.in, "exit 0")
			})
		}
	}
	b.calm()
}

// A lock that goes from hand to hand of processes that are killed as soon as they have it, while others who wait are
// killed, too: no hand-over is missed, tokens rise, and nothing is left.
func TestKilledHolders(t *testing.T) {
	const rounds = 40
	d := testdaemon.Start(t, testdaemon.Config{})
	b := watch(t, d)
	observer := d.Dial(t)
	observer.Do("PING")
	fds := d.Descriptors()
	last := 0
	holder := spawn(t, d)
	holder.tell("do a LOCK.ACQUIRE l FOR self")
	for i := range rounds {
		loser, next := spawn(t, d), spawn(t, d)
		loser.tell("send a LOCK.ACQUIRE l")
		eventually(t, "it waits", func() bool { return waiters(t, observer) == 1 })
		next.tell("send a LOCK.ACQUIRE l FOR self")
		eventually(t, "both wait", func() bool { return waiters(t, observer) == 2 })
		if i%2 == 0 {
			loser.die()
			holder.die()
		} else { // killed as it is about to be granted the lock, or has just been
			_ = holder.cmd.Process.Kill()
			_ = loser.cmd.Process.Kill()
			holder.die()
			loser.die()
		}
		got := next.tell("read a")
		token, _ := strconv.Atoi(field(t, got, "token"))
		if token <= last {
			t.Errorf("round %d: token %d after %d", i, token, last)
		}
		last = token
		if how := field(t, got, "previous"); how != "killed 9" && (how != "unknown" || testenv.HasKernel(t, 6, 15)) {
			t.Errorf("round %d: previous %q", i, how)
		}
		holder = next
	}
	holder.die()
	eventually(t, "nothing is held", func() bool { return status(t, observer, "locks_held") == 0 })
	settled(t, observer, 2)
	if n := d.Descriptors(); n > fds+1 { // the bystander's
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	b.calm()
	within(t, d, 40)
}

// One user's waits have a limit, and ten thousand of them are no burden to anybody, also when they all end at once.
func TestManyWaits(t *testing.T) {
	const want = 10_000
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	b := watch(t, d)
	observer := d.Dial(t)
	holder := spawn(t, d)
	holder.tell("do a LOCK.ACQUIRE l")
	p := d.Dial(t)
	p.Do("HELLO", "3")
	var batch strings.Builder
	refused := 0
	for i := range want + 10 {
		batch.WriteString(testdaemon.Cmd("LOCK.ACQUIRE", "l", "OWNER", strconv.Itoa(i), "ASYNC"))
		if i%100 == 99 || i == want+9 {
			n := i%100 + 1
			p.Send(batch.String())
			batch.Reset()
			for range n {
				if got := p.Frame(); strings.HasPrefix(got, "-QUOTA ") {
					refused++
				} else if got[0] != ':' {
					t.Fatalf("got %q", got)
				}
			}
		}
	}
	if n := waiters(t, observer); n != want-1 || refused != 11 {
		t.Errorf("%d wait, %d were refused", n, refused)
	}
	_ = p.Close()
	eventually(t, "nobody waits", func() bool { return waiters(t, observer) == 0 })
	holder.tell("do a LOCK.RELEASE l")
	b.calm()
	within(t, d, 60)
}
