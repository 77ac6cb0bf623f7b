package cli

import (
	"context"
	"errors"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// A call is one run of ipcctl.
type call struct {
	globals
	table   *table
	verb    *Verb    // nil: none is named
	words   []string // without options and CMD
	command []string // CMD and its arguments
	dashes  bool     // CMD came after "--"
	out     *output
}

// parse takes a whole command line.
func (c *call) parse(args []string) error {
	args, err := c.parseGlobals(args)
	if err != nil || len(args) == 0 {
		return err
	}
	if c.verb, err = c.table.find(args[0]); err != nil {
		return err
	}
	return c.parseVerb(args[1:])
}

// say tells what -v asks for, or what must not be missed.
func (c *call) say(text string) {
	tell := standardError()
	tell.text("ipcctl: ").clean(text).text("\n")
	_ = tell.flush() // there is nowhere to complain
}

// patience is how long a daemon may take to accept a connection.
const patience = 10 * time.Second

func (c *call) dial() (*ipc.Conn, error) {
	// The first timer has the runtime set up its poller. That takes time and two descriptors, and without these the process
	// dies, so a timer is only for a daemon whose backlog is full.
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	conn, err := ipc.DialConn(ctx, c.address)
	if errors.Is(err, context.DeadlineExceeded) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err = ipc.DialConn(ctx, c.address)
	}
	if err != nil {
		return nil, cannot("reach ipcd", err)
	}
	return conn, nil
}

// dial3 is dial, and RESP3 from there on: a map is a map, and a push is no reply.
func (c *call) dial3() (*ipc.Conn, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Do("HELLO", "3"); err != nil {
		conn.Close()
		return nil, cannot("greet ipcd", err)
	}
	return conn, nil
}
