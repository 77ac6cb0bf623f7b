package cli

import (
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A lockWatch is locks --watch.
type lockWatch struct {
	call  *verb.Call
	ask   *ipc.Conn
	in    *receiver
	all   bool            // something may have been missed
	dirty map[string]bool // the locks to which something happened
}

func watchLocks(c *verb.Call, conn *ipc.Conn) error {
	filters := []string{wire.LockTopics + "#"}
	if len(c.Words) > 0 {
		filters = nil
		for _, name := range c.Words {
			filters = append(filters, wire.LockTopic("+", name))
		}
	}
	in, err := receive(c, filters)
	if err != nil {
		return err
	}
	defer in.conn.Close()
	w := lockWatch{call: c, ask: conn, in: in, all: true, dirty: map[string]bool{}}
	in.lost = func(int64, string) { w.all = true }
	if c.Out.TTY && !c.JSON {
		return w.screen()
	}
	in.resumed = func() {
		w.all = true
		missing(c, "changes")
	}
	return w.lines()
}

// lines prints all locks, and then each one again to which something happened.
func (w *lockWatch) lines() error {
	for {
		names := w.call.Words
		if !w.all {
			names = slices.Sorted(maps.Keys(w.dirty))
		}
		if w.all || len(names) > 0 {
			w.all = false
			clear(w.dirty)
			views, err := w.view(names)
			if err != nil {
				return err
			}
			for _, v := range views {
				w.line(v)
			}
		}
		if err := w.next(time.Time{}); err != nil {
			return err
		}
	}
}

// view gets the locks that are meant. If the daemon has ended, it asks the next one.
func (w *lockWatch) view(names []string) ([]*lockView, error) {
	views, err := askLocks(w.ask, names)
	for outage := (verb.Outage{}); verb.Stopped(err); {
		ask, gone := outage.Redial(w.call, time.Time{}, err)
		if gone != nil {
			return nil, gone
		}
		w.ask.Close()
		w.ask = ask
		if _, err = ask.Do("HELLO", "3"); err == nil {
			views, err = askLocks(ask, names)
		}
	}
	return views, err
}

// line prints a lock as it is now.
func (w *lockWatch) line(v *lockView) {
	free := len(v.holders)+len(v.waiters) == 0
	if !free || w.call.JSON {
		printLocks(w.call, []*lockView{v})
		return
	}
	t := lockTable(w.call, nil)
	cells := make([]string, len(t.Header))
	cells[0] = v.Name
	t.Add(cells...)
	t.Print(w.call.Out)
}

// next waits for an event, or the deadline, and takes what came with it.
func (w *lockWatch) next(deadline time.Time) error {
	for {
		m, err := w.in.next(deadline)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, name, ok := wire.ParseLockTopic(m.Topic); ok {
			w.dirty[name] = true
		}
		deadline = longAgo
	}
}

// screen shows all locks on a terminal.
func (w *lockWatch) screen() error {
	changed := make(chan error)
	w.in.idle = func() error { return nil }
	w.in.resumed = func() {} // what is shown is what is there
	go func() {
		for {
			_, err := w.in.next(time.Time{})
			changed <- err
			if err != nil {
				return
			}
		}
	}()
	return onScreen(w.call.Out, changed, w.page)
}

// page has the locks that are meant. While there is no daemon, it says so: how long that may last is for who listens to know.
func (w *lockWatch) page() (table *term.Table, otherwise string, err error) {
	views, err := askLocks(w.ask, w.call.Words)
	if verb.Stopped(err) {
		if ask, e := verb.Greeted(w.call.DialNow()); e == nil {
			w.ask.Close()
			w.ask = ask
			views, err = askLocks(w.ask, w.call.Words)
		}
	}
	if verb.Stopped(err) {
		return lockTable(w.call, nil), gone, nil
	}
	return lockTable(w.call, views), "nothing is locked", err
}
