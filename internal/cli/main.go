package cli

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/ipcd/ipcd/internal/nearest"
	"github.com/ipcd/ipcd/ipc"
)

// A call is one run of ipcctl.
type call struct {
	globals
	verb    *Verb
	words   []string // without options and CMD
	command []string // CMD and its arguments
	dashes  bool     // CMD came after "--"
	out     *output
}

// Main runs ipcctl with the arguments of this process and returns its exit status.
func Main() int {
	c := &call{out: standardOutput()}
	err := c.main(os.Args[1:])
	if e := c.out.flush(); err == nil {
		err = e
	}
	return c.report(err)
}

func (c *call) main(args []string) error {
	args, err := c.globals.parse(args)
	switch {
	case err != nil:
		return err
	case c.help && len(args) == 0:
		overview(c.out)
		return nil
	case len(args) == 0:
		overview(standardError())
		return commandStatus(exitUsage)
	}
	if c.verb = find(args[0]); c.verb == nil {
		return unknownVerb(args[0])
	}
	if err := c.parse(args[1:]); err != nil {
		return err
	}
	if c.help {
		c.verb.explain(c.out)
		return nil
	}
	return c.verb.run(c)
}

func unknownVerb(name string) error {
	f := unparsed(quoted(name), "no such verb").with("ipcctl -h lists them all")
	var names []string
	for _, v := range Verbs() {
		names = append(names, v.Name)
	}
	near := elsewhere[name]
	if near == "" {
		near = nearest.Word(name, names)
	}
	if near != "" {
		f.hint = "ipcctl " + near + "? " + f.hint
	}
	return f
}

// elsewhere are the words that other programs have for what verbs do, where the nearest verb would be another one.
var elsewhere = map[string]string{
	"unlock":    "release",
	"list":      "locks",
	"ls":        "locks",
	"publish":   "pub",
	"subscribe": "sub",
	"kill":      "clients --kill",
	"ping":      "status",
	"info":      "status",
	"reload":    "raw IPCD.RELOAD",
}

// report tells of an error and gives its exit status.
func (c *call) report(err error) int {
	if err == nil {
		return 0
	}
	var passed commandStatus
	if errors.As(err, &passed) {
		return int(passed)
	}
	var killed signalled
	if errors.As(err, &killed) {
		die(syscall.Signal(killed))
	}
	f := cannot("go on", err)
	if c.verb != nil && c.verb.status != nil {
		c.verb.status.failed(f)
	}
	if f.exit == 0 && !c.verbose { // -E 0: not even a word
		return 0
	}
	tell := standardError()
	tell.text("ipcctl: ").clean(f.text).text("\n")
	if f.hint != "" && !c.quiet {
		tell.text("hint: ").clean(f.hint).text("\n")
	}
	_ = tell.flush() // there is nowhere to complain
	return f.exit
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
