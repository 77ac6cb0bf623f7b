package server

import (
	"fmt"
	"math"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a descriptor in the epoll set is; stands in EpollEvent.Pad. The descriptor itself stands in EpollEvent.Fd.
const (
	kindSession int32 = iota
	kindListener
	kindProcess // a pidfd
	kindTimer
	kindWake // the eventfd of Post
	kindTick // the timer of poller.rest
)

// tick bounds for how long the loop blocks without telling the Go runtime. A runtime-aware wait hands the processor to other
// goroutines and takes it back: three times the CPU at a thousand requests a second. A raw one without limit would keep the
// runtime waiting, and be interrupted by it, for ever.
const tick = 10 * time.Millisecond

// A poller is the epoll set with the timers and the wake-up descriptor in it.
type poller struct {
	epfd, timerfd, tickfd, wakefd int
	events                        [256]unix.EpollEvent
	armed                         time.Duration // what the timer is set to, CLOCK_BOOTTIME; 0: off

	ticking bool   // tickfd is set, so a raw wait will end
	turns   uint64 // waits so far
	ticked  uint64 // of these when tickfd was set

	busy  time.Duration // longest to poll before blocking; 0: never
	early func() bool   // while polling, reads without asking epoll and reports whether it did
	vain  int           // how many waits block at once after one that polled in vain; 0: polling mostly pays
	skip  int           // how many of these are to come
}

func newPoller() (*poller, error) {
	p := &poller{epfd: -1, timerfd: -1, tickfd: -1, wakefd: -1}
	var err error
	if p.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot create an epoll set: %w", err)
	}
	if p.timerfd, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		p.close()
		return nil, fmt.Errorf("cannot create a timer: %w", err)
	}
	if p.tickfd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		p.close()
		return nil, fmt.Errorf("cannot create a timer: %w", err)
	}
	if p.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		p.close()
		return nil, fmt.Errorf("cannot create an eventfd: %w", err)
	}
	for fd, kind := range map[int]int32{p.timerfd: kindTimer, p.tickfd: kindTick, p.wakefd: kindWake} {
		if err := p.add(fd, kind, unix.EPOLLIN|edge); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *poller) close() {
	for _, fd := range []int{p.epfd, p.timerfd, p.tickfd, p.wakefd} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func (p *poller) add(fd int, kind int32, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: kind}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("cannot watch descriptor %d: %w", fd, err)
	}
	return nil
}

// edge has epoll tell of a session when something changes, not as long as there is something: with 50 busy clients that
// saves 6 % of the time, for it is not looked at again in the next wait. A read that may have left something behind calls
// modify, which looks again.
const edge = uint32(unix.EPOLLET & 0xffffffff)

// modify changes what a session's descriptor is watched for. It cannot fail for a descriptor in the set.
func (p *poller) modify(fd int, events uint32) {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: kindSession}
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &ev)
}

// remove is for a descriptor whose file others have open, too: to close it would not take it out of the set.
func (p *poller) remove(fd int) {
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

// wake ends a wait from another goroutine.
func (p *poller) wake() {
	one := uint64(1)
	_, _ = unix.Write(p.wakefd, (*[8]byte)(unsafe.Pointer(&one))[:])
}

// setTimer makes the wait end at a time of CLOCK_BOOTTIME, 0 for never.
func (p *poller) setTimer(at time.Duration) {
	if at == p.armed {
		return
	}
	p.armed = at
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	_ = unix.TimerfdSettime(p.timerfd, unix.TFD_TIMER_ABSTIME, &spec, nil)
}

// wait returns the events that are there, blocking until there is one or something was read early. Before it blocks it polls
// for a while, if that has paid before: traffic is dense, and the peers run on other CPUs.
func (p *poller) wait(block bool) ([]unix.EpollEvent, error) {
	p.turns++
	var n int
	var err error
	switch {
	case !block:
		n, err = p.poll()
	case p.busy > 0:
		n, err = p.busyWait()
	default:
		n, err = p.rest()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot wait for events: %w", err)
	}
	return p.events[:max(n, 0)], nil
}

// wasRead is what busyWait and spin return instead of a number of events if something was read without any.
const wasRead = -1

// mostVain bounds how many waits block at once before polling is tried again.
const mostVain = 511

// busyWait is one wait for events that begins by polling, as long as that mostly pays.
func (p *poller) busyWait() (n int, err error) {
	if p.skip > 0 {
		p.skip--
		return p.rest()
	}
	if n, err = p.poll(); n != 0 || err != nil { // there already, which says nothing about polling
		return n, err
	}
	return p.spin()
}

// spin polls for a while and then blocks. After each time that polling was in vain it is tried half as often, and after
// each time that it was not, twice as often. Only trying tells: as long as both ends sleep and must be woken the next
// event seems far away, and a peer on the same CPU cannot send before the polling is over.
func (p *poller) spin() (n int, err error) {
	for start := time.Now(); time.Since(start) < p.busy; {
		if p.early != nil && p.early() {
			n = wasRead
		} else {
			n, err = p.poll()
		}
		if n != 0 || err != nil {
			p.vain /= 2
			return n, err
		}
	}
	p.vain = min(2*p.vain+1, mostVain)
	p.skip = p.vain
	return p.rest()
}

// rest blocks until there is an event. It does so without the runtime's knowledge until a tick finds that the loop has been
// idle since the one before. To give each wait a time-out instead costs 3 % of a round trip.
func (p *poller) rest() (n int, err error) {
	for n == 0 && err == nil && p.ticking {
		n, err = p.epollWait(-1)
	}
	for n == 0 && err == nil {
		n, err = unix.EpollWait(p.epfd, p.events[:], -1)
		if err == unix.EINTR {
			n, err = 0, nil
		}
	}
	if !p.ticking {
		p.setTick()
	}
	return n, err
}

// onTick is to be called for a tick.
func (p *poller) onTick() {
	if p.ticking = p.turns > p.ticked+1; p.ticking { // this turn apart
		p.setTick()
	}
}

func (p *poller) setTick() {
	p.ticking, p.ticked = true, p.turns
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(tick))}
	_ = unix.TimerfdSettime(p.tickfd, 0, &spec, nil)
}

// more returns the events that are there beside those of the last wait.
func (p *poller) more() []unix.EpollEvent {
	n, err := p.poll()
	if err != nil {
		return nil // wait will say so
	}
	return p.events[:n]
}

// poll returns the events that are there.
func (p *poller) poll() (int, error) { return p.epollWait(0) }

// epollWait is the system call without the runtime's knowledge. It may return no event when it is interrupted.
func (p *poller) epollWait(timeout int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(timeout), 0, 0)
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// A bootClock tells CLOCK_BOOTTIME: it goes on while the machine sleeps and is never set. To ask for it is a system
// call, so it is made of the monotonic clock, which is none, and the time that the machine has slept, which is looked up
// every few milliseconds.
type bootClock struct {
	base           time.Time
	slept, checked time.Duration
}

// bootCheck bounds by how much the loop may be late to notice that the machine has slept.
const bootCheck = 10 * time.Millisecond

func (c *bootClock) now() time.Duration {
	mono := time.Since(c.base)
	if c.slept == 0 || mono-c.checked > bootCheck {
		c.check()
	}
	return mono + c.slept
}

// check looks up how long the machine has slept. That only rises: what seems to be a short sleep is that this thread did
// not run between the two clocks, and to take it for one would have the clock go back the next time.
func (c *bootClock) check() {
	slept := time.Duration(math.MaxInt64)
	for range 10 {
		var ts unix.Timespec
		before := time.Since(c.base)
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			panic(err) // every kernel that this runs on has it
		}
		c.checked = time.Since(c.base)
		slept = min(slept, time.Duration(ts.Nano())-before)
		if c.checked-before < bootCheck/10 {
			break
		}
	}
	if slept > c.slept+bootCheck {
		c.slept = slept
	}
}
