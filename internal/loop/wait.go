package loop

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tick bounds for how long the loop blocks without telling the Go runtime. A runtime-aware wait hands the processor to other
// goroutines and takes it back: three times the CPU at a thousand requests a second. A raw one without limit would keep the
// runtime waiting, and be interrupted by it, for ever.
const tick = 10 * time.Millisecond

// Wait returns the events that are there. With block it waits until there is one, a timer is due, or something was read early. Before
// it blocks it polls for a while, if that has paid before: traffic is dense, and the peers run on other CPUs. The events are valid
// until Dispatch has handled them.
//
// Without block, the turn before had more to do than it had time for, and other goroutines run first that want this processor. If it
// were not offered to them they would take it, after ten milliseconds, and keep it for several. That is the garbage collector above
// all, which must have a quarter of the time: so it has that bit by bit.
func (l *Loop) Wait(block bool) ([]unix.EpollEvent, error) {
	l.arm()
	l.turns++
	var n int
	var err error
	l.Closer.pace(!block)
	switch {
	case !block:
		runtime.Gosched()
		n, err = l.poll()
	case l.BusyPoll > 0:
		n, err = l.busyWait()
	default:
		n, err = l.rest()
	}
	if block {
		l.Closer.pace(true)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot wait for events: %w", err)
	}
	if !l.ticking {
		l.setTick()
	}
	return l.events[:max(n, 0)], nil
}

// wasRead is what busyWait and spin return instead of a number of events if something was read without any.
const wasRead = -1

// mostVain bounds how many waits block at once before polling is tried again.
const mostVain = 511

// busyWait is one wait for events that begins by polling, as long as that mostly pays.
func (l *Loop) busyWait() (n int, err error) {
	if l.skip > 0 {
		l.skip--
		return l.rest()
	}
	if n, err = l.poll(); n != 0 || err != nil { // there already, which says nothing about polling
		return n, err
	}
	return l.spin()
}

// spin polls for a while and then blocks. After each time that polling was in vain it is tried half as often, and after
// each time that it was not, twice as often. Only trying tells: as long as both ends sleep and must be woken the next
// event seems far away, and a peer on the same CPU cannot send before the polling is over.
func (l *Loop) spin() (n int, err error) {
	for start := time.Now(); time.Since(start) < l.BusyPoll; {
		if l.Early != nil && l.Early() {
			n = wasRead
		} else {
			n, err = l.poll()
		}
		if n != 0 || err != nil {
			l.vain /= 2
			return n, err
		}
	}
	l.vain = min(2*l.vain+1, mostVain)
	l.skip = l.vain
	return l.rest()
}

// rest blocks until there is an event. It does so without the runtime's knowledge until a tick finds that the loop has been
// idle since the one before. To give each wait a time-out instead costs 3 % of a round trip.
func (l *Loop) rest() (n int, err error) {
	for n == 0 && err == nil && l.ticking {
		n, err = l.epollWait(-1)
	}
	for n == 0 && err == nil {
		n, err = unix.EpollWait(l.epfd, l.events[:], -1)
		if err == unix.EINTR {
			n, err = 0, nil
		}
	}
	return n, err
}

// onTick handles a tick.
func (l *Loop) onTick(int, uint32) {
	if l.ticking = l.turns > l.ticked+1; l.ticking { // this turn apart
		l.setTick()
	}
}

// setTick has a tick come, and the clock be looked at once: see [Clock.Lately].
func (l *Loop) setTick() {
	l.ticking, l.ticked = true, l.turns
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(tick))}
	_ = unix.TimerfdSettime(l.tickfd, 0, &spec, nil)
	l.Clock.Now()
}

// poll returns the events that are there.
func (l *Loop) poll() (int, error) { return l.epollWait(0) }

// epollWait is the system call without the runtime's knowledge. It may return no event when it is interrupted.
func (l *Loop) epollWait(timeout int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epfd), uintptr(unsafe.Pointer(&l.events[0])),
		uintptr(len(l.events)), uintptr(timeout), 0, 0)
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
