package process

import "golang.org/x/sys/unix"

// A guard has the processes of a job end if ipcctl does without having seen to it, as by SIGKILL: nobody waits for what they do any more.
// It is a process of their group, and so is there as long as any of them is. (The kernel would tell the first of them that its parent has
// ended, and no other; see RunJob.)
type guard struct {
	pid  int // 0: there is none
	life int // the end of a pipe that the guard waits for the end of
}

// newGuard begins to guard the process group of a child that was not waited for, if it can. The guard is one of the group when it returns:
// so nobody else gets the group's number until the guard is dismissed.
func newGuard(group int) (g guard) {
	g.pid, g.life = newSleeper(group)
	if g.pid != 0 && unix.Setpgid(g.pid, group) != nil { // it does so itself, but perhaps later
		g.dismiss()
		return guard{}
	}
	return g
}

// dismiss ends the guard and nobody else.
func (g guard) dismiss() {
	if g.pid == 0 {
		return
	}
	_ = unix.Kill(g.pid, unix.SIGKILL) // it may have ended with its group
	for {
		if _, err := unix.Wait4(g.pid, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	unix.Close(g.life)
}
