package peer

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/systemd"
)

// look fills in what /proc says of the process now called p.PID. It is an error if /proc could not be asked, and none if the
// process is gone.
func (p *Peer) look() error {
	var buf [4096]byte
	stat, err := procfsErr(buf[:], p.PID, "/stat")
	if err != nil && !isGone(err) {
		return fmt.Errorf("cannot read /proc/%d/stat: %w", p.PID, err)
	}
	if p.Start = startOf(stat); p.Start == 0 {
		return nil
	}
	unit := unitOf(cgroupOf(procfs(buf[:], p.PID, "/cgroup")))
	p.Unit, p.UserUnit = unit.name, unit.user
	return nil
}

// procfs reads the beginning of the file of a process into buf. Its result is empty if there is no such process, or if it
// cannot be read; see procfsErr where that makes a difference.
func procfs(buf []byte, pid int, file string) []byte {
	b, _ := procfsErr(buf, pid, file)
	return b
}

// procfsErr is procfs with the error: see isGone.
func procfsErr(buf []byte, pid int, file string) ([]byte, error) {
	var path [64]byte
	name := append(path[:0], "/proc/"...)
	name = strconv.AppendInt(name, int64(pid), 10)
	return read(buf, append(name, file...))
}

// isGone reports whether an error of a file of /proc says that there is no such process. Any other one says nothing about the
// process: there may be no descriptor left to look at it with, or no memory.
func isGone(err error) bool { return err == unix.ENOENT || err == unix.ESRCH }

// read is os.ReadFile for small files without its allocations.
func read(buf, path []byte) ([]byte, error) {
	path = append(path, 0)
	cwd := unix.AT_FDCWD
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(cwd), uintptr(unsafe.Pointer(&path[0])),
		unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	n, err := unix.Read(int(fd), buf)
	_ = unix.Close(int(fd))
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// startOf returns the start time from /proc/PID/stat, 0 if there is none.
func startOf(stat []byte) uint64 {
	start, _ := number(field(afterName(stat), 22-2))
	return start
}

// field returns the nth word of a line, counted from 1, or nil.
func field(line []byte, n int) []byte {
	space := func(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }
	for i := 0; i < len(line); {
		for i < len(line) && space(line[i]) {
			i++
		}
		start := i
		for i < len(line) && !space(line[i]) {
			i++
		}
		if n--; n == 0 {
			return line[start:i]
		}
	}
	return nil
}

// number parses a decimal number.
func number(word []byte) (n uint64, ok bool) {
	for _, c := range word {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, len(word) > 0
}

// line returns what follows key in the first line that begins with it.
func line(file []byte, key string) []byte {
	for len(file) > 0 {
		var l []byte
		l, file, _ = bytes.Cut(file, []byte("\n"))
		if v, ok := bytes.CutPrefix(l, []byte(key)); ok {
			return v
		}
	}
	return nil
}

// cgroupOf returns the path from /proc/PID/cgroup: that of the one hierarchy that systemd uses.
func cgroupOf(file []byte) []byte { return line(file, "0::") }

// unit is what a cgroup's path means.
type unit struct {
	path string
	name string
	user bool
}

// units remembers the unit of recently seen cgroups, which are few on any machine, so that most connections need no
// allocation for it. A slot holds the last path with its hash: no lock, no growth, nothing to evict.
var units struct {
	seed maphash.Seed
	slot [256]atomic.Pointer[unit]
}

func init() { units.seed = maphash.MakeSeed() }

func unitOf(path []byte) *unit {
	slot := &units.slot[maphash.Bytes(units.seed, path)%uint64(len(units.slot))]
	if u := slot.Load(); u != nil && u.path == string(path) {
		return u
	}
	u := &unit{path: string(path)}
	u.name, u.user = systemd.UnitFromCgroup(u.path), systemd.IsUserUnit(u.path)
	slot.Store(u)
	return u
}

// Cgroup returns the path of the cgroup that a process is in; "" if it is gone, or cannot be seen from here.
func Cgroup(pid int) string {
	var buf [4096]byte
	return string(cgroupOf(procfs(buf[:], pid, "/cgroup")))
}

// UnitOf returns the systemd unit that a cgroup belongs to, by its path; "" if none.
func UnitOf(path string) string { return unitOf([]byte(path)).name }
