package cli

import (
	"errors"
	"os"
	"syscall"
)

// Main runs ipcctl with the arguments of this process and returns its exit status.
func Main() int {
	c := &call{table: verbs(), out: standardOutput()}
	err := run(c, os.Args[1:])
	if e := c.out.flush(); err == nil {
		err = e
	}
	return report(c, err)
}

func run(c *call, args []string) error {
	err := c.parse(args)
	switch {
	case err != nil:
		return err
	case c.verb != nil && c.help:
		c.verb.explain(c.out)
		return nil
	case c.verb != nil:
		return c.verb.run(c)
	case c.help:
		overview(c.out)
		return nil
	}
	overview(standardError())
	return commandStatus(exitUsage)
}

// report tells of an error and gives its exit status.
func report(c *call, err error) int {
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
	if c.verb != nil && c.verb.failed != nil {
		c.verb.failed(f)
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

// self is the beginning of a command line for it, with the daemon that this one talks to.
func self(c *call) []string {
	if c.address == "" {
		return []string{program()}
	}
	return []string{program(), "--socket=" + c.address}
}
