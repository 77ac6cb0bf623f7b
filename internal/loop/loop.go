package loop

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MostEvents is how many events the kernel tells of at once.
const MostEvents = 256

// A Loop is what one thread waits with: see the package documentation. Post, End and Ended may be called from any goroutine, everything
// else is for that thread.
type Loop struct {
	Timers Timers
	Clock  Clock
	Closer Closer

	// BusyPoll is the longest to poll before blocking, while that pays; 0: never. While the loop polls, Early, if it is not nil, reads
	// without asking epoll and reports whether it did.
	BusyPoll time.Duration
	Early    func() bool

	epfd, timerfd, tickfd, wakefd int
	events                        [MostEvents]unix.EpollEvent
	handlers                      []func(fd int, events uint32) // by Kind
	armed                         time.Duration                 // what timerfd is set to; 0: off
	timeUp                        bool                          // and it has gone off

	// See rest.
	ticking bool   // tickfd is set, so a raw wait will end
	turns   uint64 // waits so far
	ticked  uint64 // of these when tickfd was set

	// See spin.
	vain int // how many waits block at once after one that polled in vain; 0: polling mostly pays
	skip int // how many of these are to come

	mu     sync.Mutex // guards the next two
	posted []func()
	over   bool
	ended  chan struct{} // closed when over is set
}

// New makes a loop that waits for nothing yet.
func New() (*Loop, error) {
	l := &Loop{epfd: -1, timerfd: -1, tickfd: -1, wakefd: -1, Clock: newClock(), ended: make(chan struct{})}
	if err := l.open(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Loop) open() (err error) {
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("cannot create an epoll set: %w", err)
	}
	if l.timerfd, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("cannot create a timer: %w", err)
	}
	if l.tickfd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("cannot create a timer: %w", err)
	}
	if l.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("cannot create an eventfd: %w", err)
	}
	return errors.Join(
		l.Add(l.timerfd, l.Handle(func(int, uint32) { l.TimeUp() }), unix.EPOLLIN|Edge),
		l.Add(l.tickfd, l.Handle(l.onTick), unix.EPOLLIN|Edge),
		l.Add(l.wakefd, l.Handle(l.runPosted), unix.EPOLLIN|Edge),
	)
}

// Close closes what New has opened. Before that, whoever posts must be told that the loop has ended: see End.
func (l *Loop) Close() {
	for _, fd := range []*int{&l.epfd, &l.timerfd, &l.tickfd, &l.wakefd} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
}

// FD is the descriptor of the epoll set. It is readable while there is something to be handled.
func (l *Loop) FD() int { return l.epfd }

// A Kind of descriptors is what one handler is called for. It costs a descriptor nothing: it stands in EpollEvent.Pad.
type Kind int32

// Handle has events of all descriptors that are added as the Kind handled by f. It may be called for one that was removed in the
// same turn, and it must know.
func (l *Loop) Handle(f func(fd int, events uint32)) Kind {
	l.handlers = append(l.handlers, f)
	return Kind(len(l.handlers) - 1)
}

// Edge has epoll tell of a descriptor when something changes, not as long as there is something: with 50 busy clients that
// saves 6 % of the time, for it is not looked at again in the next wait. A read that may have left something behind calls
// Modify, which looks again.
const Edge = uint32(unix.EPOLLET & 0xffffffff)

// Add watches a descriptor.
func (l *Loop) Add(fd int, k Kind, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: int32(k)}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("cannot watch descriptor %d: %w", fd, err)
	}
	return nil
}

// Modify changes what a descriptor is watched for. It cannot fail for a descriptor that was added.
func (l *Loop) Modify(fd int, k Kind, events uint32) {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: int32(k)}
	_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_MOD, fd, &ev)
}

// Remove is for a descriptor whose file others have open, too: to close it would not take it out of the set.
func (l *Loop) Remove(fd int) {
	_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

// Dispatch has the handlers called for events, and for all that there are beside them.
func (l *Loop) Dispatch(events []unix.EpollEvent) {
	for {
		for i := range events {
			ev := &events[i]
			l.handlers[ev.Pad](int(ev.Fd), ev.Events)
		}
		if len(events) < MostEvents {
			return
		}
		n, err := l.poll()
		if err != nil {
			return // Wait will say so
		}
		events = l.events[:n]
	}
}

// arm has the next wait end when a timer is due.
func (l *Loop) arm() {
	at, ok := l.Timers.Next()
	if ok {
		at = max(at, 1) // 0 is never
	}
	if at == l.armed {
		return
	}
	l.armed = at
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	_ = unix.TimerfdSettime(l.timerfd, unix.TFD_TIMER_ABSTIME, &spec, nil)
}

// TimeUp notes that a timer is due, so that RunTimers looks: as the kernel tells, or who makes turns by hand.
func (l *Loop) TimeUp() { l.armed, l.timeUp = 0, true }

// RunTimers has timers go off, if one is due, until over reports that the time for that is over: see [Timers.Run].
func (l *Loop) RunTimers(over func() bool) {
	if !l.timeUp {
		return
	}
	l.timeUp = false
	over() // whose clock may begin now
	l.Timers.Run(l.Clock.Now(), func() bool { return !over() })
}
