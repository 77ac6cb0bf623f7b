package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
)

// attackNames are the attacks in order.
func attackNames() []string {
	var names []string
	for name := range attacks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// attacker is who attacks: the user nobody, since limits and shares of the loop are those of a user.
const attacker = 65534

// runAttack is the attacking process. It runs when nobody else wants the CPU, so that what is measured is what it does to the
// server, and not to the one who measures. With -realtime that is so in any case, and the machine is busy with others: it runs as
// they do then.
func runAttack(name, path string) error {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return err
	}
	attr = &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: map[uint32]uint32{unix.SCHED_RR: unix.SCHED_BATCH}[attr.Policy]}
	if attr.Policy == 0 {
		attr.Policy = unix.SCHED_IDLE
	}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return err
	}
	attacks[name](path, func() { fmt.Println("ready") })
	return nil
}

// pingEvery is far above what a ping may take, so that one which waits does not have the next wait as well.
const pingEvery = 2 * time.Millisecond

// A siege is a server that is attacked, and another one beside it.
type siege struct {
	own, other *server
	cmd        *exec.Cmd
	before     int // resident memory of own, before it was attacked
}

// besiege starts both, and an attack on the first.
func (b *bench) besiege(name string, p place) (_ *siege, err error) {
	g := new(siege)
	defer func() {
		if err != nil {
			g.end()
		}
	}()
	if g.own, err = b.startServer(ipcdServer, p, "IPCD_TURNS=1"); err != nil {
		return nil, err
	}
	if g.other, err = b.startServer(ipcdServer, p); err != nil {
		return nil, err
	}
	g.before = resident(g.own)
	cmd := exec.Command("/proc/self/exe", "attack", name, g.own.path)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: attacker, Gid: attacker}}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	g.cmd = cmd
	var line [6]byte
	if _, err := out.Read(line[:]); err != nil {
		return nil, fmt.Errorf("the attack did not begin: %w", err)
	}
	return g, nil
}

// endAttack ends the attack alone.
func (g *siege) endAttack() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait()
		g.cmd = nil
	}
}

func (g *siege) end() {
	g.endAttack()
	for _, s := range []*server{g.own, g.other} {
		if s != nil {
			s.stop()
		}
	}
}

// underAttack pings again and again while the attack goes on. The value is what all but one in a hundred replies stay below,
// counted from when the ping was due: one that the server keeps waiting keeps those behind it waiting, too. The rival is a server
// that nobody attacks, on the same CPUs at the same time: what it takes longer than without an attack is the machine's doing. Beside
// it stand what the server did before the reply, for all but one in a hundred, and the longest turn of its loop: both in CPU time, which
// does not depend on what else the machine does.
func (b *bench) underAttack(name string) []contender {
	var g *siege
	var before, after turns
	var work time.Duration
	of := func(which func() *server) func(place) (*subject, error) {
		return func(p place) (*subject, error) {
			if g == nil {
				var err error
				if g, err = b.besiege(name, p); err != nil {
					return nil, err
				}
			}
			s := which()
			c := dialAll(s.path, 1)[0]
			return &subject{
				cpu:   s.cpu,
				close: func() { closeAll([]*conn{c}) },
				cell: func(d time.Duration) sample {
					if s == g.own {
						before = turnsOf(s)
						defer func() { after = turnsOf(s) }()
					}
					x, cpu := pingFor(c, d, s)
					if s == g.own {
						work = cpu
					}
					return x
				},
			}, nil
		}
	}
	return []contender{
		{name: "p99", open: of(func() *server { return g.own })},
		{name: "another daemon", open: of(func() *server { return g.other })},
		{name: "work until the reply", open: func(place) (*subject, error) {
			return &subject{close: func() {}, cell: func(time.Duration) sample { return sample{value: work.Seconds()} }}, nil
		}},
		{name: "longest turn", open: func(place) (*subject, error) {
			return &subject{
				close: func() {
					g.end()
					g = nil
				},
				cell: func(time.Duration) sample { return sample{value: after.longestSince(before).Seconds()} },
			}, nil
		}},
	}
}

// pingFor pings a server for a while. Beside the time of pings it tells what CPU time all threads of the server have used from when one
// was due until its reply is there: with the server on one CPU, this is what it does before, and hardly depends on what else the
// machine does.
func pingFor(c *conn, d time.Duration, s *server) (_ sample, work time.Duration) {
	var all, works []time.Duration
	var sent, replied time.Time // of those that have waited for each other, the first and the last
	var before time.Duration    // what the server had used when the first was sent
	ping := command("PING")
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // or the kernel wakes up 50 µs late
	start := time.Now()
	for due := start; due.Sub(start) < d; due = due.Add(pingEvery) {
		late := due.Before(replied)
		if !late {
			runtime.Gosched() // or the runtime has its way after ten milliseconds, and that may be while a reply is there
			sleepUntil(due)
			sent, before = time.Now(), s.used()
		}
		c.send(ping)
		c.reply()
		replied = time.Now()
		used := s.used() - before
		if late { // and has waited for a part of that
			used = time.Duration(float64(used) * replied.Sub(due).Seconds() / replied.Sub(sent).Seconds())
		}
		works = append(works, used)
		all = append(all, replied.Sub(due))
	}
	slices.Sort(all)
	slices.Sort(works)
	return sample{value: all[(len(all)-1)*99/100].Seconds(), ops: len(all)}, works[(len(works)-1)*99/100]
}

// sleepUntil returns at a moment, or at once if that is over. The Go runtime, which time.Sleep asks, is up to a millisecond late: it
// sleeps by whole ones. That would count as what a ping has waited.
func sleepUntil(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		ts := unix.NsecToTimespec(int64(left))
		_ = unix.Nanosleep(&ts, nil)
	}
}

// afterAttack is the resident memory of a server some seconds after an attack, beside that at its end and before it.
func (b *bench) afterAttack(name string) []contender {
	var g *siege
	var atEnd int
	const long = 2 * time.Second
	look := func(value *int) func(place) (*subject, error) {
		return func(place) (*subject, error) {
			return &subject{
				close: func() {},
				cell:  func(time.Duration) sample { return sample{value: float64(*value)} },
			}, nil
		}
	}
	var before int
	return []contender{
		{name: "after", open: func(p place) (*subject, error) {
			var err error
			if g, err = b.besiege(name, p); err != nil {
				return nil, err
			}
			before = g.before
			return &subject{
				close: func() { g.end() },
				cell: func(time.Duration) sample {
					time.Sleep(long)
					atEnd = resident(g.own)
					g.endAttack()
					time.Sleep(b.idle + 4*time.Second) // what was taken is given back in the first calm
					return sample{value: float64(resident(g.own))}
				},
			}, nil
		}},
		{name: "at its end", open: look(&atEnd)},
		{name: "before", open: look(&before)},
	}
}

// turns are how many turns a loop has made, by the time that they took at most.
type turns map[time.Duration]int64

// turnsKey is what a figure of turns is called by the daemon, and how long they were at most.
const turnsKey = "turns_us_"

// turnsOf asks a server for its turns.
func turnsOf(s *server) turns {
	c, err := ipc.DialConn(context.Background(), s.path)
	must(err)
	defer func() { _ = c.Close() }()
	v, err := c.Do("IPCD.STATUS")
	must(err)
	all := turns{}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		if us, ok := strings.CutPrefix(v.Elems[i].Text(), turnsKey); ok {
			n, err := strconv.Atoi(us)
			must(err)
			all[time.Duration(n)*time.Microsecond] = v.Elems[i+1].Int
		}
	}
	return all
}

// longestSince is how long the longest turn was, since there were those before.
func (t turns) longestSince(before turns) (longest time.Duration) {
	for d, n := range t {
		if n > before[d] {
			longest = max(longest, d)
		}
	}
	return longest
}
