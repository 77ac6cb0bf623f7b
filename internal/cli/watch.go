package cli

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
)

const (
	// grace is how long a wait may take before it is worth a word.
	grace = 250 * time.Millisecond
	// tick is how often a terminal is told how long it takes by now.
	tick = time.Second
	// A log is told a little later, and then rarely: after a minute, and twice the time each time, up to an hour.
	logGrace, logNext, logMost = time.Second, time.Minute, time.Hour
)

// leaving are the signals by which a wait is given up. By default each ends ipcctl at once, and then a lock granted in
// that very moment would count as abandoned by a process that was killed, though CMD never ran.
var leaving = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}

// A watcher keeps company to a wait for a lock: it tells who holds the lock, and leaves the queue when a signal comes.
type watcher struct {
	call    *call
	lock    string
	process process // that waits
	client  string  // number of the connection that waits
	info    *ipc.Conn
	tell    *output
	line    bool // an unfinished line is on the terminal
	signals chan os.Signal
	stop    chan struct{}
	stopped chan struct{}
}

func (c *call) watch(lock string, pid int, client string) *watcher {
	p, _ := findProcess(int64(pid)) // if it just ended, so does the wait
	w := &watcher{
		call: c, lock: lock, process: p, client: client,
		tell:    standardError(),
		signals: make(chan os.Signal, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	for _, s := range leaving {
		if !signal.Ignored(s) { // by nohup, or in the background of a shell
			signal.Notify(w.signals, s)
		}
	}
	go w.run()
	return w
}

// end is called when the wait is over. If a signal came first, it does not return.
func (w *watcher) end(err error) {
	close(w.stop)
	<-w.stopped
	signal.Stop(w.signals)
	select {
	case s := <-w.signals:
		w.leave(s)
	default:
	}
	if w.info != nil {
		w.info.Close()
	}
	w.clear(err != nil)
}

func (w *watcher) run() {
	defer close(w.stopped)
	pause := time.Duration(0)
	if !w.tell.tty {
		pause = logGrace - grace
	}
	for {
		select {
		case s := <-w.signals:
			w.leave(s)
		case <-w.stop:
			return
		case <-time.After(pause):
		}
		pause = w.pause(pause)
		if !w.call.quiet {
			w.report()
		}
	}
}

// pause is the time until the next word.
func (w *watcher) pause(before time.Duration) time.Duration {
	if w.tell.tty {
		return tick
	}
	return min(max(2*before, logNext), logMost)
}

// report says how it stands. If that cannot be found out, nothing is said: the wait itself will tell.
func (w *watcher) report() {
	if w.info == nil {
		var err error
		if w.info, err = w.call.dial(); err != nil {
			return
		}
	}
	v, err := w.info.Do("LOCK.INFO", w.lock)
	if err != nil {
		return
	}
	text := describeWait(w.lock, v, w.process)
	switch {
	case text == "":
	case w.tell.tty:
		text = cut(escaped("ipcctl: "+text), w.tell.columns()-1)
		w.tell.text("\r").text(text).text("\x1b[K")
		w.line = true
	default:
		w.tell.text("ipcctl: " + text + "\n")
	}
	_ = w.tell.flush() // nobody to tell
}

// clear ends the line that updates in place: what it said last stays if the wait failed.
func (w *watcher) clear(keep bool) {
	switch {
	case w.line && keep:
		w.tell.text("\n")
	case w.line:
		w.tell.text("\r\x1b[K")
	}
	_ = w.tell.flush()
	w.line = false
}

// leave gives up the wait and dies of the signal. After the connection was ended nothing can be granted any more, so
// what is held then was granted before, and is given back.
func (w *watcher) leave(s os.Signal) {
	w.clear(true)
	if conn, err := w.call.dial(); err == nil {
		conn.SetDeadline(time.Now().Add(time.Second))
		conn.Buffer("CLIENT", "KILL", "ID", w.client)
		_, err = conn.Do("LOCK.INFO", w.lock) // the first of two replies
		v, e := conn.Reply()
		if err == nil && e == nil {
			if token := holdOf(v, w.process); token != "" {
				_, _ = conn.Do("LOCK.RELEASE", w.lock, token)
			}
		}
		conn.Close()
	}
	die(s)
}

// die ends this process by a signal, so that whoever started it sees the cause.
func die(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if !ok {
		os.Exit(exitInternal)
	}
	signal.Reset(s)
	_ = unix.Kill(unix.Getpid(), number) // cannot fail
	time.Sleep(time.Second)              // it may arrive in another thread
	os.Exit(128 + int(number))           // it is blocked
}

// holdOf is the token of the hold that a process has, or "".
func holdOf(info ipc.Value, p process) string {
	for _, h := range info.Get("holders").Elems {
		if h.Get("pid").Int == p.pid && h.Get("start").Int == p.start {
			return h.Get("token").Text()
		}
	}
	return ""
}

// describeWait says how long a process has waited for a lock, at which place, and for whom; "" if it does not wait.
func describeWait(lock string, info ipc.Value, p process) string {
	waiters := info.Get("waiters").Elems
	for i, v := range waiters {
		if v.Get("pid").Int != p.pid || v.Get("start").Int != p.start {
			continue
		}
		text := "waiting " + age(micros(v, "age")) + " for " + shown(lock) + ", " + ordinal(i+1) + " of " + strconv.Itoa(len(waiters))
		if h := info.Get("holders").Elems; len(h) > 0 {
			text += "; held " + age(micros(h[0], "age")) + " by " + describeClaim(h[0])
			if len(h) > 1 {
				text += " and " + strconv.Itoa(len(h)-1) + " more"
			}
			if why := h[0].Get("why").Str; why != "" {
				text += ": " + why
			}
		}
		return text
	}
	return ""
}

func micros(v ipc.Value, key string) time.Duration {
	return time.Duration(v.Get(key).Int) * time.Microsecond
}

// describeClaim is who holds a lock or waits for it: "restic (pid 4121, root, backup.service)".
func describeClaim(v ipc.Value) string {
	pid := "pid " + v.Get("pid").Text()
	who := userName(v.Get("uid").Int)
	if unit := v.Get("unit").Str; unit != "" {
		who += ", " + unit
	}
	if command := commandOf(v.Get("pid").Int, v.Get("start").Int); command != "" {
		return command + " (" + pid + ", " + who + ")"
	}
	return pid + " (" + who + ")"
}

// ordinal is 1st, 2nd, 3rd, 4th.
func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// cut shortens a text to so many characters.
func cut(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:max(n-1, 0)]) + "…"
}
