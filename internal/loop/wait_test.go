package loop

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBusyPoll: after polling in vain, more and more waits block at once; when it pays again, fewer and fewer.
func TestBusyPoll(t *testing.T) {
	l := newLoop(t)
	l.ticking = true // so no tick is set, and none comes in between
	wait := func(how func() (int, error), busy time.Duration, vain, skip int) {
		t.Helper()
		l.BusyPoll = busy
		l.wake()
		if n, err := how(); n != 1 || err != nil || l.vain != vain || l.skip != skip {
			t.Fatalf("%d events, %v; %d in vain, %d to skip; want %d and %d", n, err, l.vain, l.skip, vain, skip)
		}
	}
	for _, n := range []int{1, 3, 7, 15, 31, 63, 127, 255, mostVain, mostVain} {
		wait(l.spin, 0, n, n)
		for i := range n {
			wait(l.busyWait, time.Minute, n, n-1-i)
		}
		wait(l.busyWait, time.Minute, n, 0) // an event that was there already
	}
	for _, n := range []int{255, 127, 63, 31, 15, 7, 3, 1, 0, 0} {
		wait(l.spin, time.Minute, n, 0)
	}
}

// TestTick: as long as something happens between two ticks the loop blocks without the runtime; a tick after nothing ends that,
// and there is no other until something happens again.
func TestTick(t *testing.T) {
	l := newLoop(t)
	await := func(fd int) {
		t.Helper()
		if events, err := l.Wait(true); err != nil || len(events) != 1 || int(events[0].Fd) != fd {
			t.Fatalf("%v, %v; want one of descriptor %d", events, err, fd)
		}
	}
	for range 2 {
		l.wake()
		await(l.wakefd)
		await(l.tickfd)
		l.turns++ // something happened meanwhile
		l.onTick(l.tickfd, unix.EPOLLIN)
		if !l.ticking {
			t.Fatal("no tick is to come, though something happened")
		}
		await(l.tickfd)
		l.onTick(l.tickfd, unix.EPOLLIN)
		var spec unix.ItimerSpec
		if err := unix.TimerfdGettime(l.tickfd, &spec); err != nil || l.ticking || spec.Value.Nano() != 0 {
			t.Fatalf("a tick is to come in %dns (%v), though nothing happened", spec.Value.Nano(), err)
		}
	}
}

// TestWaitYields: who has more to do than a turn has time for does not keep the processor from other goroutines.
func TestWaitYields(t *testing.T) {
	l := newLoop(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var ran atomic.Bool
	go func() { ran.Store(true) }()
	for range 2 { // now and then the runtime has the one who yields go on first
		if _, err := l.Wait(false); err != nil {
			t.Fatal(err)
		}
	}
	if !ran.Load() {
		t.Error("nobody else has run")
	}
}
