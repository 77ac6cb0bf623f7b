package server

import (
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// turnTimes count the turns of the loop by the CPU time of its thread that they took: who shares the loop with others waits for that,
// and it does not depend on what else the machine does. It is measured only if Setup.Turns asks for it, as it takes two system
// calls in each turn.
type turnTimes struct {
	counts [len(turnBounds)]int64
	early  time.Duration // what readEarly has taken, which is a part of the turn that follows
}

// turnBounds are what a turn takes at most, in microseconds, to be counted there: four to each power of two. What takes longer
// than the last is counted there, too.
var turnBounds = func() (all [56]int64) {
	for i := range all {
		all[i] = int64(4+i%4) << (i / 4) * 8
	}
	return all
}()

func (t *turnTimes) add(d time.Duration) {
	i := 0
	for i < len(turnBounds)-1 && d.Microseconds() > turnBounds[i] {
		i++
	}
	t.counts[i]++
}

// rows are the counts that are not 0, for IPCD.STATUS.
func (t *turnTimes) rows() (rows []Field) {
	if t == nil {
		return nil
	}
	for i, n := range t.counts {
		if n > 0 {
			rows = append(rows, Field{"turns_us_" + strconv.FormatInt(turnBounds[i], 10), n})
		}
	}
	return rows
}

// measureTurns has all turns be counted, of which turn makes one, and gives what makes and counts one.
func (s *Server) measureTurns(turn func([]unix.EpollEvent)) func([]unix.EpollEvent) {
	t := new(turnTimes)
	s.turns = t
	s.set.Loop.Early = func() bool {
		runtime.LockOSThread() // whose time is measured
		defer runtime.UnlockOSThread()
		begun := threadTime()
		read := s.set.Net.ReadEarly()
		if read {
			t.early += threadTime() - begun
		}
		return read
	}
	return func(events []unix.EpollEvent) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		begun := threadTime()
		turn(events)
		t.add(threadTime() - begun + t.early)
		t.early = 0
	}
}

// threadTime is the CPU time that this thread has used.
func threadTime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now)
	return time.Duration(now.Nano())
}
