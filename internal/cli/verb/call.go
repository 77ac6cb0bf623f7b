package verb

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

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

// Speaks reports whether it is told what ipcctl waits for: to a terminal, and elsewhere only with -v. What cron starts would send
// a mail for it.
func (c *Call) Speaks(to *term.Output) bool { return !c.Quiet && (to.TTY || c.Verbose) }

// Dial connects to the daemon that is meant. If there is none, it waits as long as --wait-daemon says.
func (c *Call) Dial() (*ipc.Conn, error) {
	return c.dialUntil(c.waitDaemon.Deadline(), "ipcd is not there: waiting for it")
}

// dialUntil is DialNow, again and again while no daemon is there. It says so, once.
func (c *Call) dialUntil(deadline time.Time, said string) (*ipc.Conn, error) {
	conn, err := c.DialNow()
	for pause := 10; absent(err) && time.Now().Before(deadline); pause = min(2*pause, 100) {
		if said != "" && c.Speaks(term.Stderr()) {
			c.Say(said)
		}
		said = ""
		_, _ = unix.Poll(nil, pause) // as there: a timer needs descriptors
		conn, err = c.DialNow()
	}
	return conn, err
}

// absent reports whether the reason why a daemon could not be reached is that none is there.
func absent(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) }

// DialNow connects to the daemon that is meant, if it is there.
func (c *Call) DialNow() (*ipc.Conn, error) {
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
func (c *Call) Dial3() (*ipc.Conn, error) { return Greeted(c.Dial()) }

// Greeted has a new connection speak RESP3.
func Greeted(conn *ipc.Conn, err error) (*ipc.Conn, error) {
	if err != nil {
		return nil, err
	}
	if _, err := conn.Do("HELLO", "3"); err != nil {
		conn.Close()
		return nil, exit.Cannot("greet ipcd", err)
	}
	return conn, nil
}
