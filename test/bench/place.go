package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A place says on which CPUs server and driver run. It decides more than any software: waking another CPU costs more
// than answering.
type place int

const (
	same  place = iota // both on the first CPU: what code costs
	split              // server on the first, driver on the second: throughput
	free               // wherever the kernel likes: what users see
)

func (p place) String() string { return [...]string{"same", "split", "free"}[p] }

// cpus are those that this process may use.
type cpus []int

func allowedCPUs() (cpus, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var all cpus
	for i := 0; len(all) < set.Count(); i++ {
		if set.IsSet(i) {
			all = append(all, i)
		}
	}
	return all, nil
}

func (c cpus) server(p place) cpus {
	if p == free {
		return c
	}
	return c[:1]
}

func (c cpus) driver(p place) cpus {
	switch p {
	case same:
		return c[:1]
	case split:
		return c[1:2]
	}
	return c
}

// pin binds the calling thread, and what it starts from now on.
func (c cpus) pin() error {
	var set unix.CPUSet
	for _, cpu := range c {
		set.Set(cpu)
	}
	return unix.SchedSetaffinity(0, &set)
}

// cpuTime is what all threads of a process have used.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	if err != nil || len(files) == 0 {
		return 0, errors.New("cannot read the CPU time of the server: it is gone, or the kernel keeps no schedstat")
	}
	var sum time.Duration
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has just ended
		}
		used, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(used, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// residentBytes is the resident memory of a process.
func residentBytes(pid int) (int, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc/PID/status")
}

// busyTime is what all processes of the machine have used on these CPUs, and what there was to use.
func (c cpus) busyTime() (busy, all time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	must(err)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		name, ok := strings.CutPrefix(words[0], "cpu")
		cpu, err := strconv.Atoi(name)
		if !ok || err != nil || !slices.Contains(c, cpu) {
			continue
		}
		for i, w := range words[1:9] { // user nice system idle iowait irq softirq steal
			ticks, err := strconv.Atoi(w)
			must(err)
			d := time.Duration(ticks) * (time.Second / 100)
			all += d
			if i != 3 && i != 4 {
				busy += d
			}
		}
	}
	return busy, all
}
