package process

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

// Leaving are the signals by which a wait is given up. By default each ends ipcctl at once, and then a lock granted in
// that very moment would count as abandoned by a process that was killed, though CMD never ran.
var Leaving = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT}

// Catch has signals sent to a channel, but not those that are ignored: by nohup, or in the background of a shell.
func Catch(c chan<- os.Signal, signals []os.Signal) {
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// Sleep lasts until a signal ends this process.
func Sleep() {
	signals := make(chan os.Signal, 1)
	Catch(signals, Leaving)
	go func() { Die(<-signals) }()
	for { // where all of them are ignored, the runtime would take a goroutine that waits for a channel for a deadlock
		_, _ = unix.Poll(nil, -1)
	}
}

// Die ends this process by a signal, so that whoever started it sees the cause. Of those by which the Go runtime would not
// end, or not silently, only the status tells, as it does in shells.
func Die(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if !ok {
		os.Exit(exit.Internal)
	}
	switch number {
	case unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGKILL, unix.SIGPIPE:
		handle(number, byDefault)            // the runtime itself drops a SIGPIPE, unless it comes of a write to standard output
		_ = unix.Kill(unix.Getpid(), number) // cannot fail
		time.Sleep(time.Second)              // it may arrive in another thread
	}
	os.Exit(128 + int(number)) // or it is blocked
}

// SignalName is TERM, or the number of a signal that has no name.
func SignalName(s syscall.Signal) string {
	if name := unix.SignalName(s); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(s))
}
