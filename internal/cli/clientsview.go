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

// A clientWatch is clients --watch. Nothing tells when a connection begins or ends, and much of what is shown changes with each
// command: the daemon is asked every tick.
type clientWatch struct {
	call    *verb.Call
	conn    *ipc.Conn
	since   time.Time                // when it was connected, at the latest
	resumed func()                   // another daemon answers
	clients atomic.Pointer[[]client] // the latest; nil: there is no daemon
}

func watchClients(c *verb.Call, conn *ipc.Conn) error {
	w := clientWatch{call: c, conn: conn, since: time.Now(), resumed: func() {}}
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

// poll asks for the connections. If the daemon has ended, it asks the next one. Where that is the one of before, somebody has ended
// this connection, and it stays so.
func (w *clientWatch) poll() error {
	clients, err := askClients(w.conn)
	ended := err
	for outage := (verb.Outage{}); verb.Stopped(err); {
		w.clients.Store(nil)
		conn, gone := outage.Redial(w.call, time.Time{}, err)
		if gone != nil {
			return gone
		}
		since := time.Now()
		var same bool
		if same, err = wasThere(conn, w.since); err == nil {
			clients, err = askClients(conn)
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
	w.clients.Store(&clients)
	return nil
}

func (w *clientWatch) page() (table *term.Table, otherwise string, err error) {
	clients := w.clients.Load()
	if clients == nil {
		return clientTable(), gone, nil
	}
	return clientTable(*clients...), "", nil
}

// lines prints all connections, and then each one again that has changed.
func (w *clientWatch) lines() error {
	shown := map[string][]string{} // by number, without what changes by itself
	w.resumed = func() {
		clear(shown)
		missing(w.call, "changes")
	}
	for {
		if err := w.poll(); err != nil {
			return err
		}
		ended := maps.Clone(shown)
		for _, client := range *w.clients.Load() {
			id, lasting := client.get("id"), client.lasting()
			if !slices.Equal(shown[id], lasting) {
				printClients(w.call, client)
			}
			shown[id] = lasting
			delete(ended, id)
		}
		for _, id := range slices.Sorted(maps.Keys(ended)) {
			w.ended(id)
			delete(shown, id)
		}
		if err := w.call.Out.Flush(); err != nil {
			return err
		}
		pause()
	}
}

// ended prints that a connection has ended.
func (w *clientWatch) ended(id string) {
	if w.call.JSON {
		var o term.Object
		o.Number("id", client{"id=" + id}.number("id"))
		o.Value("ended", wire.Value{Kind: wire.KindBool, Int: 1})
		w.call.Out.Object(&o)
		return
	}
	t := clientTable()
	cells := make([]string, len(t.Header))
	cells[0] = id
	t.Add(cells...)
	t.Print(w.call.Out)
}

// lasting are the cells of a client that do not change as time goes by.
func (l client) lasting() []string {
	row := l.row()
	return append(row[:5:5], row[7:]...) // without AGE and IDLE
}
