package peer

import "bytes"

// A Process is known for as long as the machine is up: by its number, and when it started, as [Peer.Start].
type Process struct {
	PID   int
	Start uint64
}

// maxAncestors bounds how far [Ancestors] goes. Nobody nests that deep.
const maxAncestors = 64

// Ancestors returns the processes that a process descends from, the parent first. It
// returns those that are found before the trail ends: with a process that is gone, or one that cannot be seen from here.
// Who was adopted, because its parent has ended, has the adopter for its parent.
func Ancestors(pid int, start uint64) []Process {
	var buf [1024]byte
	stat := procfs(buf[:], pid, "/stat")
	if startOf(stat) != start {
		return nil
	}
	var all []Process
	for len(all) < maxAncestors {
		parent := parentOf(stat)
		if parent < 1 {
			break
		}
		stat = procfs(buf[:], parent, "/stat")
		// A parent is not younger than its child: that would be another process, which got the number meanwhile.
		began := startOf(stat)
		if began == 0 || began > start {
			break
		}
		start = began
		all = append(all, Process{parent, began})
	}
	return all
}

// parentOf returns the number of the parent from /proc/PID/stat, 0 if there is none.
func parentOf(stat []byte) int {
	parent, _ := number(field(afterName(stat), 4-2))
	return int(parent)
}

// afterName returns what follows the second field of /proc/PID/stat, which is the command's name in parentheses and may
// itself hold spaces and parentheses.
func afterName(stat []byte) []byte { return stat[bytes.LastIndexByte(stat, ')')+1:] }
