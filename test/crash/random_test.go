package crash

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc"
)

var (
	kills     = flag.Int("kills", 16, "so many daemons end in TestRandomFaults")
	positions = flag.Int("positions", 0, "so many positions of each system call fail in TestErrorsAtTakeUp")
	seedFlag  = flag.Uint64("seed", 0, "of what is random; 0: another one each time")
)

// seed is that of a test.
func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano()) ^ uint64(os.Getpid())
}

// Whatever befalls the daemon, no two have a lock at once, nobody loses one while his process lives, tokens rise, and nothing ends
// in another way than is documented.
func TestRandomFaults(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(map[bool]string{false: "its own socket", true: "a socket that stays"}[kept], func(t *testing.T) {
			s := newSite(t, seed())
			if os.Geteuid() == 0 {
				s.ownDisk()
				s.disk = true
			}
			if kept {
				s.keepSocket()
			}
			s.begin()
			r := rover{site: s}
			for s.deaths < *kills/2 && !t.Failed() {
				r.populate()
				r.act(2 + s.rng.IntN(5))
				r.disturb()
				s.verify()
			}
			r.finish()
			t.Logf("%d daemons ended, %d of them faulty; %d workers, %d of them in", s.deaths, s.faults, s.begun, r.ins())
		})
	}
}

// A rover does random things at a site.
type rover struct {
	*site
	client *ipc.Client // of holds that end with the connection
	leases int
}

// most is how many workers there are at once.
const most = 14

// populate has workers ask for locks, of all kinds.
func (r *rover) populate() {
	r.t.Helper()
	for len(r.workers) < most {
		w := &worker{stays: r.rng.IntN(3) > 0, status: r.rng.IntN(2) * 3}
		w.names, w.units = []string{[]string{"a", "b", semaphore}[r.rng.IntN(3)]}, 1
		var options []string
		switch r.rng.IntN(6) {
		case 0:
			w.shared, w.units = true, 0
			options = append(options, "-s")
		case 1:
			if w.names[0] == semaphore {
				w.units = 2
				options = append(options, "-U2")
			}
		case 2:
			w.units = limitOf(w.names[0])
			options = append(options, "-x")
		case 3:
			w.names, w.units = []string{"b", "a"}, 1
		}
		if w.names[0] == semaphore {
			options = append(options, fmt.Sprintf("-l%d", semaphoreUnits))
		}
		verb := "lock"
		switch r.rng.IntN(8) {
		case 0:
			options, w.refused = append(options, "-n"), []int{exitBusy}
		case 1:
			options, w.refused = append(options, "-w", "0.05"), []int{exitTimeout}
		case 2, 3:
			if len(w.names) == 1 {
				verb = "acquire"
			}
		case 4:
			verb, options = "once", nil
			w.want = want{names: []string{"once"}, units: 1}
			w.stays, w.status = false, 3 // it is never done
		}
		if r.rng.IntN(8) == 0 { // what connections of this process hold: its children must not wait for that without an end
			w.want, w.refused = want{names: []string{ours}, units: 1}, []int{exitTimeout}
			verb, options = "lock", []string{"-w", "0.05"}
		}
		r.start(w, verb, options...)
	}
}

// ours is the lock that connections take.
const ours = "c"

// act does so many other things.
func (r *rover) act(n int) {
	r.t.Helper()
	for range n {
		r.check()
		inside := slices.Sorted(maps.Keys(r.history.inside))
		running := slices.Sorted(maps.Keys(r.workers))
		switch r.rng.IntN(8) {
		case 0, 1, 2:
			if w := r.workers[pick(r, inside)]; w != nil && w.stays && w.verb != lease {
				r.letGo(w)
				<-w.exited
			}
		case 3:
			r.killAny(inside)
		case 4:
			r.killAny(running)
		case 5:
			r.leased()
		case 6:
			r.connection()
		default: // let the daemon answer for a while
			for range r.rng.IntN(10) {
				r.run("status")
			}
		}
	}
}

func (r *rover) killAny(of []string) {
	if w := r.workers[pick(r, of)]; w != nil && w.verb != lease && w.verb != "once" { // whose child would go on
		r.kill(w)
	}
}

func pick(r *rover, from []string) string {
	if len(from) == 0 {
		return ""
	}
	return from[r.rng.IntN(len(from))]
}

// lease is the verb of what is no process's.
const lease = "lease"

// leased takes a lock for a time that does not end here.
func (r *rover) leased() {
	r.leases++
	name := fmt.Sprintf("lease/%d", r.leases)
	id := "lease" + strconv.Itoa(r.leases)
	token, status := r.run("acquire", "-n", "-t", "-L", "1h", name)
	if status != 0 {
		r.t.Errorf("ipcctl acquire -L ended with %d", status)
		return
	}
	r.history.wants[id] = want{names: []string{name}, units: 1}
	r.workers[id] = &worker{id: id, want: r.history.wants[id], verb: lease, stays: true}
	r.say("in", id, "0", "?", "", token+" "+name)
}

// connection takes a lock, or gives it back, that ends with the connection, and so with the daemon.
func (r *rover) connection() {
	ctx := context.Background()
	if r.client == nil {
		var err error
		if r.client, err = ipc.Dial(ctx, r.Socket); err != nil {
			r.t.Error(err)
			return
		}
	}
	r.begun++
	id := "connection" + strconv.Itoa(r.begun)
	r.history.wants[id] = want{names: []string{ours}, units: 1}
	l, err := r.client.TryLock(ctx, ours)
	if err != nil {
		return // it is held
	}
	r.say("in", id, "0", l.Previous, "", fmt.Sprint(l.Token, " ", ours))
	if r.rng.IntN(2) == 0 {
		r.say("out", id, "released")
		if err := l.Unlock(ctx); err != nil {
			r.t.Error(err)
		}
		return
	}
	r.say("cut", id)
	_ = r.client.Close()
	r.client = nil
}

// hangUp ends what would end with the daemon anyway.
func (r *rover) hangUp() {
	if r.client != nil {
		_ = r.client.Close()
		r.client = nil
	}
}

// disturb ends the daemon in some way, mostly has a faulty one in between, and starts it again.
func (r *rover) disturb() {
	r.t.Helper()
	r.hangUp()
	switch r.rng.IntN(4) {
	case 0:
		r.deaths++
		r.say("down", "stopped")
		r.Stop()
	default:
		r.crash()
	}
	files := r.stateFiles()
	switch n := r.rng.IntN(12); n {
	case 0:
		r.withFault("few descriptors", limited(10+r.rng.IntN(30)), r.meanwhile)
	case 1:
		r.withFault("short files", shortFiles(r.rng.IntN(1<<20)), r.meanwhile)
	case 2:
		r.flipBit(files[r.rng.IntN(len(files))])
	case 3:
		path := files[r.rng.IntN(len(files))]
		r.say("removed", path)
		if err := os.Remove(path); err != nil {
			r.t.Error(err)
		}
	case 4:
		r.Configure("nonsense")
		r.withFault("a wrong configuration", nil, r.meanwhile)
		r.Configure("")
	case 5, 6:
		if !r.disk {
			break
		}
		if n == 5 {
			r.readOnly(true)
			r.withFault("a directory that is read only", nil, r.meanwhile)
			r.readOnly(false)
			break
		}
		r.fill()
		r.withFault("a full directory", nil, r.meanwhile)
		r.makeRoom()
	case 7, 8, 9:
		if testenv.Has("strace") {
			names := slices.Sorted(maps.Keys(calls))
			call := names[r.rng.IntN(len(names))]
			errno := calls[call][r.rng.IntN(len(calls[call]))]
			var on []string
			if slices.Contains(onFiles, call) {
				on = files
			}
			r.withFault(call, r.failing(call, errno, fmt.Sprintf("%d+%d", r.place(call, 20), 1+r.rng.IntN(3)), on...), r.meanwhile)
		}
	}
	r.begin()
}

// meanwhile goes on while the daemon is faulty, or not there at all: what needs it comes to an end in its own time.
func (r *rover) meanwhile(ready bool) {
	r.check()
	for _, id := range slices.Sorted(maps.Keys(r.history.inside)) {
		if w := r.workers[id]; w != nil && w.stays && w.verb == "lock" && r.rng.IntN(3) == 0 {
			r.letGo(w)
			<-w.exited
		}
	}
	if !ready {
		return
	}
	for range 3 {
		w := &worker{want: want{names: []string{[]string{"a", "b"}[r.rng.IntN(2)]}, units: 1}, refused: []int{exitBusy}}
		r.start(w, "lock", "-n")
	}
}

// finish lets all workers come to their end.
func (r *rover) finish() {
	r.t.Helper()
	r.hangUp()
	for _, w := range r.workers {
		if w.verb == lease {
			delete(r.workers, w.id)
			continue
		}
		r.letGo(w)
	}
	for _, w := range r.workers {
		select {
		case <-w.exited:
		case <-time.After(patience):
			r.t.Errorf("worker %s does not come to its end", w.id)
			_ = w.cmd.Process.Signal(syscall.SIGKILL)
			w.killed = true
		}
	}
	r.check()
}

// ins is how often a worker was in.
func (r *rover) ins() (n int) {
	for _, l := range r.all() {
		if l.words[0] == "in" {
			n++
		}
	}
	return n
}
