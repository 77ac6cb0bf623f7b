package cli

import (
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

const (
	// grace is how long a wait may take before it is worth a word.
	grace = 250 * time.Millisecond
	// tick is how often a terminal is told how long it takes by now.
	tick = time.Second
	// A log is told, with -v, a little later, and then rarely: after a minute, and twice the time each time, up to an hour.
	logGrace, logNext, logMost = time.Second, time.Minute, time.Hour
)

// A watcher keeps company to a wait for locks: it tells who holds them, and leaves the queues when a signal comes.
type watcher struct {
	call    *verb.Call
	names   []string
	holder  holder
	client  asker // the connection that waits
	info    *ipc.Conn
	tell    *term.Output
	line    statusLine // on the terminal
	signals chan os.Signal
	stop    chan struct{}
	stopped chan struct{}
}

func watch(c *verb.Call, names []string, who holder, client asker) *watcher {
	tell := term.Stderr()
	w := &watcher{
		call: c, names: names, holder: who, client: client,
		tell: tell, line: statusLine{tell: tell},
		signals: make(chan os.Signal, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	process.Catch(w.signals, process.Leaving)
	go w.run()
	return w
}

// end is called when the wait is over. If a signal came first, it does not return. It reports whether a terminal shows who is in
// the way.
func (w *watcher) end(err error) (shown bool) {
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
	shown = w.line.text != ""
	w.line.end(err != nil)
	return shown
}

func (w *watcher) run() {
	defer close(w.stopped)
	pause := time.Duration(0)
	if !w.tell.TTY {
		pause = logGrace - grace
	}
	var due <-chan struct{} // nil: never
	if w.call.Speaks(w.tell) {
		due = after(pause)
	}
	for {
		select {
		case s := <-w.signals:
			w.leave(s)
		case <-w.stop:
			return
		case <-due:
			w.report()
			pause = w.pause(pause)
			due = after(pause)
		}
	}
}

// after is closed after a time. Unlike a timer it needs no poller of the runtime's, whose two descriptors may not be there:
// telling who holds a lock is not worth dying for.
func after(d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		for end := time.Now().Add(d); d > 0; d = time.Until(end) {
			_, _ = unix.Poll(nil, int((d+time.Millisecond-1)/time.Millisecond)) // or a signal came
		}
		close(over)
	}()
	return over
}

// pause is the time until the next word.
func (w *watcher) pause(before time.Duration) time.Duration {
	if w.tell.TTY {
		return tick
	}
	return min(max(2*before, logNext), logMost)
}

// report says how it stands. If that cannot be found out, nothing is said: the wait itself will tell.
func (w *watcher) report() {
	if w.info == nil {
		var err error
		if w.info, err = w.call.DialNow(); err != nil {
			return
		}
	}
	views := make([]*lockView, len(w.names))
	for i, name := range w.names {
		var err error
		if views[i], err = viewLock(w.info, name); err != nil {
			return
		}
	}
	text := describeWait(w.names, views, w.client)
	switch {
	case text == "":
	case w.tell.TTY:
		w.line.show(text)
	default:
		w.tell.Text("ipcctl: ").Clean(text).Text("\n")
		_ = w.tell.Flush() // nobody to tell
	}
}

// leave gives up the wait and dies of the signal. After the connection was ended nothing can be granted any more, so
// what is held then was granted before, and is given back.
func (w *watcher) leave(s os.Signal) {
	w.line.end(true)
	if conn, err := w.call.DialNow(); err == nil {
		conn.SetDeadline(time.Now().Add(time.Second))
		_, err = conn.Do("CLIENT", "KILL", "ID", strconv.FormatUint(uint64(w.client), 10))
		for i := 0; err == nil && i < len(w.names); i++ {
			err = w.giveBack(conn, w.names[i])
		}
		conn.Close()
	}
	process.Die(s)
}

// giveBack gives back what was granted of a lock, if it was.
func (w *watcher) giveBack(conn *ipc.Conn, name string) error {
	v, err := viewLock(conn, name)
	if err != nil {
		return err
	}
	hold, ok := v.holdOf(w.client.has)
	if !ok || w.holder.acts(hold) {
		return nil
	}
	return w.holder.release(conn, hold)
}

// An asker is the number of a connection. It tells this process's claims from all others wherever both run: the numbers
// of processes need not mean the same here and to the daemon.
type asker uint64

// has reports whether a claim was asked for on this connection.
func (a asker) has(c *claim) bool { return c.Client == uint64(a) }

// holdOf is the hold that somebody has.
func (v *lockView) holdOf(has func(*claim) bool) (ipc.Hold, bool) {
	for i := range v.holders {
		if has(&v.holders[i]) {
			return ipc.Hold{Name: v.Name, Token: v.holders[i].Token}, true
		}
	}
	return ipc.Hold{}, false
}

// describeWait says how long it has been waited for locks, at which place, and for whom; "" if it is not waited for. views
// are of the locks; of several, the one that matters is the first that could not be granted now.
func describeWait(names []string, views []*lockView, who asker) string {
	text := ""
	for n, v := range views {
		i := slices.IndexFunc(v.waiters, func(c claim) bool { return who.has(&c) })
		if i < 0 {
			return ""
		}
		held := describeHolders(v)
		if n > 0 && i == 0 && held == "" {
			continue
		}
		mine, place := &v.waiters[i], term.Ordinal(i+1)+" of "+strconv.Itoa(len(v.waiters))
		text = "waiting " + term.Age(mine.Age) + " for " + printable.Names(names)
		if letter(mine, v.Limit) == "U" {
			text += " (" + share(mine, v.Limit) + ")"
		}
		text += ", " + place
		if len(names) > 1 {
			text += " for " + printable.Name(names[n])
		}
		if held != "" {
			text += "; " + held
		}
		if i > 0 || held != "" {
			break
		}
	}
	return text
}
