package peer

import "github.com/ipcd/ipcd/internal/cgroup"

// A Stop is what keeps a process from running.
type Stop uint8

// The stops.
const (
	Runs       Stop = iota // nothing, or nobody can tell from here
	BySignal               // SIGSTOP, or the terminal's Ctrl-Z: until SIGCONT
	ByDebugger             // whoever traces it
	ByFreezer              // its cgroup is frozen
)

var stops = [...]string{"", "signal", "debugger", "freezer"}

func (s Stop) String() string { return stops[s] }

// StopOf returns what keeps a process from running.
func StopOf(pid int, start uint64) Stop {
	var buf [1024]byte
	stat := procfs(buf[:], pid, "/stat")
	state := string(field(afterName(stat), 3-2))
	switch {
	case start == 0 || startOf(stat) != start:
		return Runs
	case state == "T":
		return BySignal
	case state == "t":
		return ByDebugger
	}
	if sleeps := state == "S" || state == "D"; sleeps && cgroup.IsFrozen(cgroupOf(procfs(buf[:], pid, "/cgroup"))) {
		return ByFreezer
	}
	return Runs
}
