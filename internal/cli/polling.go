package cli

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A polling is --watch of rows of which nothing tells when they come, change and go: the daemon is asked for all of them every tick.
type polling[R any] struct {
	call *verb.Call
	conn *ipc.Conn
	polled[R]

	since   time.Time           // when it was connected, at the latest
	resumed func()              // another daemon answers
	latest  atomic.Pointer[[]R] // nil: there is no daemon
}

// polled says what the rows are.
type polled[R any] struct {
	ask     func(*ipc.Conn) ([]R, error)
	print   func(rows ...R)
	table   func(rows ...R) *term.Table
	none    string                           // what a terminal shows where there are none
	key     func(R) string                   // by which a row is known: its first cell
	lasting func(R) []string                 // what does not change as time goes by
	object  func(o *term.Object, key string) // begins an object about a row
}

func watchPolled[R any](c *verb.Call, conn *ipc.Conn, rows polled[R]) error {
	w := polling[R]{call: c, conn: conn, polled: rows, since: time.Now(), resumed: func() {}}
	if !c.Out.TTY || c.JSON {
		return w.lines()
	}
	if err := w.poll(); err != nil {
		return err
	}
	changed := make(chan error)
	go func() {
		for err := error(nil); err == nil; {
			pause()
			err = w.poll()
			changed <- err
		}
	}()
	return onScreen(c.Out, changed, w.page)
}

// pause waits between two questions. It needs no timer of the runtime's: see after.
func pause() { _, _ = unix.Poll(nil, int(tick/time.Millisecond)) }

// poll asks for the rows. If the daemon has ended, it asks the next one. Where that is the one of before, somebody has ended this
// connection, and it stays so.
func (w *polling[R]) poll() error {
	rows, err := w.ask(w.conn)
	ended := err
	for outage := (verb.Outage{}); verb.Stopped(err); {
		w.latest.Store(nil)
		conn, gone := outage.Redial(w.call, time.Time{}, err)
		if gone != nil {
			return gone
		}
		since := time.Now()
		var same bool
		if _, err = conn.Do("HELLO", "3"); err == nil {
			same, err = wasThere(conn, w.since)
		}
		if err == nil {
			rows, err = w.ask(conn)
		}
		if same {
			conn.Close()
			return ended
		}
		w.conn.Close()
		w.conn, w.since = conn, since
		if err == nil {
			w.resumed()
		}
	}
	if err != nil {
		return err
	}
	w.latest.Store(&rows)
	return nil
}

func (w *polling[R]) page() (table *term.Table, otherwise string, err error) {
	rows := w.latest.Load()
	if rows == nil {
		return w.table(), gone, nil
	}
	return w.table(*rows...), w.none, nil
}

// lines prints all rows, and then each one again that has changed.
func (w *polling[R]) lines() error {
	shown := map[string][]string{} // by key, without what changes by itself
	w.resumed = func() {
		clear(shown)
		missing(w.call, "changes")
	}
	for {
		if err := w.poll(); err != nil {
			return err
		}
		ended := maps.Clone(shown)
		for _, row := range *w.latest.Load() {
			key, lasting := w.key(row), w.lasting(row)
			if !slices.Equal(shown[key], lasting) {
				w.print(row)
			}
			shown[key] = lasting
			delete(ended, key)
		}
		for _, key := range slices.Sorted(maps.Keys(ended)) {
			w.ended(key)
			delete(shown, key)
		}
		if err := w.call.Out.Flush(); err != nil {
			return err
		}
		pause()
	}
}

// ended prints that a row has gone.
func (w *polling[R]) ended(key string) {
	if w.call.JSON {
		var o term.Object
		w.object(&o, key)
		o.Value("ended", wire.Value{Kind: wire.KindBool, Int: 1})
		w.call.Out.Object(&o)
		return
	}
	t := w.table()
	cells := make([]string, len(t.Header))
	cells[0] = key
	t.Add(cells...)
	t.Print(w.call.Out)
}
