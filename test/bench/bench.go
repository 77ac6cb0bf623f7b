package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A bench is one run of the whole table.
type bench struct {
	settings
	dir         string
	cpus        cpus
	descriptors int               // how many this process may have open
	programsOf  map[string]string // where each rival that is installed has its program

	wall, others time.Duration // of the CPUs during turns: all, and used by processes that have nothing to do with it
}

// A row is one thing to measure, of several contenders of which the first is ours.
type row struct {
	name   string
	place  place
	unit   unit
	rounds int           // 0: as set
	cell   time.Duration // 0: as set
	all    []contender
}

// A contender is one column of a row.
type contender struct {
	name   string
	target target // for our figure divided by this one's; none for our own
	open   func(p place) (*subject, error)
}

// A subject is a contender that is running.
type subject struct {
	cell  func(d time.Duration) sample
	cpu   func() time.Duration // what the server has used so far; nil: the sample knows
	close func()
}

// A sample is the result of one turn.
type sample struct {
	value float64
	ops   int           // for the CPU time of one
	cpu   time.Duration // of all ops, where subject.cpu is nil
}

// A target bounds our value divided by the rival's, or our value itself. The zero target is none.
type target struct{ most, least, ours float64 }

// A series is what all turns of one contender gave.
type series struct {
	name   string
	target target
	values []float64
	cpus   []float64 // seconds for one operation
}

// A result is a measured row.
type result struct {
	row
	series []series
}

func newBench(s settings, dir string) (*bench, error) {
	b := &bench{settings: s, dir: dir}
	var err error
	if b.cpus, err = allowedCPUs(); err != nil {
		return nil, err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	b.descriptors = int(min(limit.Cur, 1<<20))
	b.findRivals()
	return b, nil
}

// measure gives each contender its turn in each round.
func (b *bench) measure(r row) (res result, err error) {
	defer recoverInto(&err)
	res.row = r
	if r.rounds == 0 {
		r.rounds = b.rounds
	}
	if r.cell == 0 {
		r.cell = b.cell
	}
	subjects := make([]*subject, len(r.all))
	defer func() {
		for _, s := range subjects {
			if s != nil {
				s.close()
			}
		}
		_ = b.cpus.pin()
	}()
	for i, c := range r.all {
		if subjects[i], err = c.open(r.place); err != nil {
			return res, fmt.Errorf("%s: %w", c.name, err)
		}
		res.series = append(res.series, series{name: c.name, target: c.target})
	}
	for range r.rounds {
		for i, s := range subjects {
			runtime.GC()
			x := b.watch(s, r.cell)
			res.series[i].values = append(res.series[i].values, x.value)
			res.series[i].cpus = append(res.series[i].cpus, x.cpu.Seconds()/float64(max(x.ops, 1)))
		}
	}
	return res, nil
}

// watch is one turn of a subject, with an eye on what else the machine does.
func (b *bench) watch(s *subject, d time.Duration) sample {
	own := func() time.Duration {
		var self, waited unix.Rusage
		must(unix.Getrusage(unix.RUSAGE_SELF, &self))
		must(unix.Getrusage(unix.RUSAGE_CHILDREN, &waited))
		t := time.Duration(self.Utime.Nano() + self.Stime.Nano() + waited.Utime.Nano() + waited.Stime.Nano())
		if s.cpu != nil {
			t += s.cpu()
		}
		return t
	}
	used := own()
	busy, all := b.cpus.busyTime()
	x := s.turn(d)
	busyThen, allThen := b.cpus.busyTime()
	b.wall += allThen - all
	b.others += busyThen - busy - (own() - used)
	return x
}

// disturbance says how quiet the machine was.
func (b *bench) disturbance() string {
	share := 100 * max(b.others, 0).Seconds() / max(b.wall.Seconds(), .01)
	text := fmt.Sprintf("other processes used %.0f %% of the CPUs meanwhile", share)
	if share > 10 {
		text += ": believe CPU/op more than time, and same more than split and free"
	}
	return text
}

// turn is one turn of a subject, after a short one that does not count.
func (s *subject) turn(d time.Duration) sample {
	if s.cpu == nil {
		return s.cell(d)
	}
	s.cell(d / 10)
	before := s.cpu()
	x := s.cell(d)
	x.cpu = s.cpu() - before
	return x
}

// describe is the machine and the versions, one fact a line.
func (b *bench) describe() []string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return slices.Concat([]string{
		fmt.Sprintf("Linux %s, %d CPUs (%s)", unix.ByteSliceToString(u.Release[:]), len(b.cpus), cpuModel()),
		firstLine(b.ipcd, "--version") + ", " + runtime.Version(),
	}, b.versions(), []string{
		firstLine("flock", "--version"),
		fmt.Sprintf("%d rounds of %v each", b.rounds, b.cell),
	})
}

// firstLine is what a program prints first.
func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return name + ": not there"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // unknown is good enough
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
