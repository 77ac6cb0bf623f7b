// Command bench measures ipcd beside its rivals: servers run side by side on this machine and are measured in turns, so
// that a busy spell hits all of them, and what counts are ratios. docs/benchmarks.md explains the figures and how they
// are made.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settings are the command line.
type settings struct {
	ipcd, ipcctl, redis string
	rounds              int
	cell                time.Duration // how long one contender is measured in one round
	idle                time.Duration // how long connections are left alone before memory is read
	connections         int
	filter              *regexp.Regexp
	quick               bool
	document            string
	realtime            bool
}

func main() {
	// Placement and the children's death signal are properties of a thread.
	runtime.LockOSThread()
	if helper(os.Args) {
		return
	}
	exitOn(run(parseFlags()))
}

// helper runs one of the processes that this program starts beside itself, if that is what the words say.
func helper(words []string) bool {
	helpers := map[string]func(words []string) error{
		"raw-server":             func(w []string) error { return serveRaw(w[0]) },
		"bare-server":            func(w []string) error { return serveBare(w[0], w[1]) },
		"attack":                 func(w []string) error { return runAttack(w[0], w[1]) },
		"flock-partner":          func(w []string) error { return flockPartner(w[0]) },
		"responder":              func(w []string) error { return respond(w[0], w[1], requestConns) },
		"answered-responder":     func(w []string) error { return respond(w[0], w[1], answeredConns) },
		"bus-responder":          func(w []string) error { return respondByCommand(w[0], w[1], true) },
		"answered-bus-responder": func(w []string) error { return respondByCommand(w[0], w[1], false) },
		"listener":               func(w []string) error { return listenFor(w[0], w[1]) },
	}
	if len(words) < 3 || helpers[words[1]] == nil {
		return false
	}
	runtime.LockOSThread()
	exitOn(helpers[words[1]](words[2:]))
	return true
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func parseFlags() settings {
	var s settings
	flag.BoolVar(&s.quick, "quick", false, "a first impression in half a minute, without what takes long to set up")
	filter := flag.String("filter", "", "only rows whose name and placement match this regular `expression`")
	flag.StringVar(&s.ipcd, "ipcd", "bin/ipcd", "the daemon's `path`")
	flag.StringVar(&s.ipcctl, "ipcctl", "bin/ipcctl", "the CLI's `path`")
	flag.StringVar(&s.redis, "redis", "redis-server", "the rival's `path`")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each contender has its turn")
	flag.DurationVar(&s.cell, "time", 300*time.Millisecond, "length of a turn")
	flag.IntVar(&s.connections, "connections", 10_000, "idle connections for the memory of one")
	flag.StringVar(&s.document, "document", "", "also write the table into this Markdown `file`, between its marks")
	flag.BoolVar(&s.realtime, "realtime", false, "run driver and servers before all else (SCHED_RR): for root, on a busy machine")
	flag.Parse()
	s.idle = 4 * time.Second
	if s.quick {
		s.rounds, s.cell, s.idle = 3, 25*time.Millisecond, time.Second
		s.connections = min(s.connections, 1000)
	}
	if flag.NArg() > 0 {
		exitOn(fmt.Errorf("unexpected argument %q", flag.Arg(0)))
	}
	var err error
	if s.filter, err = regexp.Compile(*filter); err != nil {
		exitOn(err)
	}
	return s
}

// run measures all rows and prints each as soon as it is known.
func run(s settings) error {
	if s.realtime {
		if err := beforeAllElse(); err != nil {
			return fmt.Errorf("cannot set the scheduling policy: %w", err)
		}
	}
	for _, p := range []*string{&s.ipcd, &s.ipcctl} {
		if _, err := os.Stat(*p); err != nil {
			return fmt.Errorf("%w (make build)", err)
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	dir, err := os.MkdirTemp("", "ipcd-bench-")
	if err == nil {
		err = os.Chmod(dir, 0o711) // for those who attack
	}
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// The servers die with this process, the directory does not.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		_ = os.RemoveAll(dir)
		os.Exit(130)
	}()
	debug.SetGCPercent(-1) // garbage is collected between turns
	b, err := newBench(s, dir)
	if err != nil {
		return err
	}
	t := newTable(os.Stdout, b.describe())
	var failed error
	for _, r := range b.rows() {
		if !s.filter.MatchString(r.name + " " + r.place.String()) {
			continue
		}
		res, err := b.measure(r)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s, %v: %w", r.name, r.place, err))
			fmt.Fprintf(os.Stderr, "bench: %s, %v: %v\n", r.name, r.place, err)
			continue
		}
		t.add(res)
	}
	t.end()
	fmt.Println(b.disturbance())
	if s.document != "" {
		failed = errors.Join(failed, t.writeInto(s.document))
	}
	if failed != nil {
		return errors.New("some rows could not be measured")
	}
	return nil
}

// beforeAllElse has this process, and those that it starts, run before all others. The policy is a thread's, and the runtime has several
// already: one of them, left behind, would have to hand on to the one that measures. So it begins anew.
func beforeAllElse() error {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy == unix.SCHED_RR {
		return err
	}
	runtime.LockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}
