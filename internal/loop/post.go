package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Post has f run by the loop, from any goroutine, after the turn that is under way. It reports false if the loop has ended; f is not
// run then.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.posted = append(l.posted, f)
	if len(l.posted) == 1 {
		l.wake()
	}
	return true
}

// wake ends a wait from another goroutine.
func (l *Loop) wake() {
	one := uint64(1)
	_, _ = unix.Write(l.wakefd, (*[8]byte)(unsafe.Pointer(&one))[:])
}

// runPosted runs what is posted so far.
func (l *Loop) runPosted(fd int, _ uint32) {
	var b [8]byte
	_, _ = unix.Read(fd, b[:])
	l.mu.Lock()
	fs := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range fs {
		f()
	}
}

// End has nothing run any more that is posted.
func (l *Loop) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over, l.posted = true, nil
	close(l.ended)
}

// Ended is closed by End.
func (l *Loop) Ended() <-chan struct{} { return l.ended }
