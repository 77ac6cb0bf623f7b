package verb

import (
	"context"
	"errors"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/ipc"
)

// A Call is one run of ipcctl.
type Call struct {
	globals
	Table   *Table
	Verb    *Verb    // nil: none is named
	Words   []string // without options and CMD
	Command []string // CMD and its arguments
	dashes  bool     // CMD came after "--"
	Out     *term.Output
}

// Parse takes a whole command line.
func (c *Call) Parse(args []string) error {
	args, err := c.parseGlobals(args)
	if err != nil || len(args) == 0 {
		return err
	}
	if c.Verb, err = c.Table.Find(args[0]); err != nil {
		return err
	}
	return c.parseVerb(args[1:])
}

// Say tells what -v asks for, or what must not be missed.
func (c *Call) Say(text string) {
	tell := term.Stderr()
	tell.Text("ipcctl: ").Clean(text).Text("\n")
	_ = tell.Flush() // there is nowhere to complain
}

// patience is how long a daemon may take to accept a connection.
const patience = 10 * time.Second

// Dial connects to the daemon that is meant.
func (c *Call) Dial() (*ipc.Conn, error) {
	// The first timer has the runtime set up its poller. That takes time and two descriptors, and without these the process
	// dies, so a timer is only for a daemon whose backlog is full.
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	conn, err := ipc.DialConn(ctx, c.Address)
	if errors.Is(err, context.DeadlineExceeded) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err = ipc.DialConn(ctx, c.Address)
	}
	if err != nil {
		return nil, exit.Cannot("reach ipcd", err)
	}
	return conn, nil
}

// Dial3 is dial, and RESP3 from there on: a map is a map, and a push is no reply.
func (c *Call) Dial3() (*ipc.Conn, error) {
	conn, err := c.Dial()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Do("HELLO", "3"); err != nil {
		conn.Close()
		return nil, exit.Cannot("greet ipcd", err)
	}
	return conn, nil
}
