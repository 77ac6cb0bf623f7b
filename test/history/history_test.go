package history

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/test/testdaemon"
)

const (
	workers = 6
	actions = 120 // stops, continuations and kills
	pace    = 15  // lines that the workers write between two actions
)

// Holders and waiters are stopped, continued and killed, and the lock is what a lock should be all the time.
func TestRealProcesses(t *testing.T) {
	daemon := testdaemon.Start(t, testdaemon.Config{})
	decisions := listen(t, daemon.Socket)
	g := group{t: t, socket: daemon.Socket, lines: make(chan struct{}, 64)}
	for range workers {
		g.start()
	}
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), 2))
	t.Logf("seed %d", os.Getpid())
	killed := 0
	for range actions {
		g.await(pace)
		w := g.running[rng.IntN(len(g.running))]
		switch rng.IntN(4) {
		case 0:
			w.signal(t, unix.SIGKILL)
			killed++
			g.bury(w)
			g.start()
		case 1, 2:
			if g.stopped() < workers/2 {
				w.signal(t, unix.SIGSTOP)
				w.stopped = true
			}
		default:
			g.goOn()
		}
	}
	g.goOn()
	turns := g.finish()
	events := decisions()

	limits := map[string]int{"a": 1, "b": 1, semaphore: units}
	for lock, limit := range limits {
		if err := checkQueue(events[lock], limit); err != nil {
			t.Errorf("%s: %v", lock, err)
		}
		ops := operations(turns, events[lock], lock)
		if err := checkLinear(ops, limit); err != nil {
			t.Errorf("%s: %v", lock, err)
		}
		t.Logf("%s: %d decisions, %d operations", lock, len(events[lock]), len(ops))
	}
	t.Logf("%d turns of %d processes, %d of them killed", len(turns), g.started, killed)
}

// operations are what the workers did with one lock. Of a process that was killed the daemon's decisions say what became of
// its last turn.
func operations(turns []*turn, decisions []decision, lock string) []operation {
	heard := func(event string, is func(decision) bool) (decision, bool) {
		i := slices.IndexFunc(decisions, func(d decision) bool { return d.Event == event && is(d) })
		if i < 0 {
			return decision{}, false
		}
		return decisions[i], true
	}
	known := map[uint64]bool{}
	for _, t := range turns {
		known[t.token] = true
	}
	var ops []operation
	for _, t := range turns {
		if t.lock != lock || t.refused {
			continue
		}
		take := operation{Client: t.pid, Take: true, Mode: t.mode, Units: t.units, Token: t.token, Called: t.asked, Returned: t.got}
		if t.got == 0 { // killed meanwhile
			d, granted := heard("acquired", func(d decision) bool { return d.PID == t.pid && !known[d.Token] })
			if !granted {
				continue
			}
			take.Token, take.Returned = d.Token, d.Heard
		}
		ops = append(ops, take)
		give := operation{Client: t.pid, Token: take.Token, Called: t.give, Returned: t.gave}
		if t.give == 0 {
			give.Called = take.Called + 1 // it was killed some time after it asked
		}
		if t.gave == 0 {
			give.Returned = forever
			if d, ended := heard("released", func(d decision) bool { return d.Token == take.Token }); ended {
				give.Returned = d.Heard
			}
		}
		ops = append(ops, give)
	}
	return ops
}

// listen notes all decisions about locks until the function is called that it returns.
func listen(t *testing.T, socket string) func() map[string][]decision {
	c, err := ipc.Dial(context.Background(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	sub, err := c.Subscribe(context.Background(), "ipcd/lock/+/+", ipc.BufferSize(1<<20, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	end, err := c.Subscribe(context.Background(), "end")
	if err != nil {
		t.Fatal(err)
	}
	events := map[string][]decision{}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for m, err := range sub.Messages(ctx) {
			if err != nil {
				return
			}
			if m.Lost > 0 {
				t.Errorf("%d events were lost", m.Lost)
			}
			var e struct {
				Event, Name, Mode string
				PID, Units        int
				Token             uint64
			}
			if err := json.Unmarshal(m.Payload, &e); err != nil {
				t.Errorf("%s: %v", m.Payload, err)
			}
			mode := map[string]string{"exclusive": "X", "shared": "S", "units": "U"}[e.Mode]
			events[e.Name] = append(events[e.Name], decision{e.Event, e.PID, mode, max(e.Units, 1), e.Token, monotonic()})
		}
	})
	return func() map[string][]decision {
		// What was decided before this is published before it.
		if _, err := c.Publish(context.Background(), "end", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := end.Next(context.Background()); err != nil {
			t.Fatal(err)
		}
		sub.Close()
		cancel()
		all.Wait()
		return events
	}
}

// A group is all workers of a test.
type group struct {
	t       *testing.T
	socket  string
	started int
	running []*worker
	lines   chan struct{} // one for each line that a worker wrote

	reading sync.WaitGroup
	mu      sync.Mutex
	turns   []*turn
}

type worker struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	stopped bool
	stderr  strings.Builder
}

func (g *group) start() {
	g.t.Helper()
	w := &worker{cmd: exec.Command("/proc/self/exe")}
	w.cmd.Env = append(os.Environ(), "IPCD_SOCKET="+g.socket, fmt.Sprintf("%s=%d", workerEnv, g.started+1))
	w.cmd.Stderr = &w.stderr
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	w.stdin = stdin
	r, out, err := os.Pipe()
	if err != nil {
		g.t.Fatal(err)
	}
	w.cmd.Stdout = out
	if err := w.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	_ = out.Close()
	pid := w.cmd.Process.Pid
	g.reading.Go(func() {
		turns, err := readTurns(r, pid, func() { g.lines <- struct{}{} })
		if err != nil {
			g.t.Error(err)
		}
		_ = r.Close()
		g.mu.Lock()
		g.turns = append(g.turns, turns...)
		g.mu.Unlock()
	})
	g.started++
	g.running = append(g.running, w)
}

// await returns when the workers have written so many lines. Those who are stopped may hold all that the others wait for: if
// nothing comes for a moment, they go on.
func (g *group) await(lines int) {
	g.t.Helper()
	quiet := 0
	for lines > 0 {
		select {
		case <-g.lines:
			lines--
			quiet = 0
		case <-time.After(20 * time.Millisecond):
			g.goOn()
			if quiet++; quiet == 3000 {
				g.t.Fatal("the workers have come to a stop")
			}
		}
	}
}

func (w *worker) signal(t *testing.T, s unix.Signal) {
	t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		t.Error(err)
	}
}

func (g *group) stopped() int {
	n := 0
	for _, w := range g.running {
		if w.stopped {
			n++
		}
	}
	return n
}

func (g *group) goOn() {
	for _, w := range g.running {
		if w.stopped {
			w.stopped = false
			w.signal(g.t, unix.SIGCONT)
		}
	}
}

// bury takes a killed worker out of the group.
func (g *group) bury(w *worker) {
	_ = w.cmd.Wait() // killed
	_ = w.stdin.Close()
	g.running = slices.DeleteFunc(g.running, func(other *worker) bool { return other == w })
}

// finish has all workers come to an end, and returns what they did.
func (g *group) finish() []*turn {
	go func() {
		for range g.lines { // nobody counts them any more
		}
	}()
	for _, w := range g.running {
		_ = w.stdin.Close()
	}
	for _, w := range g.running {
		if err := w.cmd.Wait(); err != nil {
			g.t.Errorf("a worker: %v\n%s", err, w.stderr.String())
		}
	}
	g.reading.Wait()
	close(g.lines)
	return g.turns
}
