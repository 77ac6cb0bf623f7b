package cli

import (
	"errors"
	"os"
	"syscall"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

// Main runs ipcctl with the arguments of this process and returns its exit status.
func Main() int {
	c := &verb.Call{Table: verbs(), Out: term.Stdout()}
	err := process.Begin()
	if err == nil {
		err = run(c, os.Args[1:])
	}
	if e := c.Out.Flush(); err == nil {
		err = e
	}
	return report(c, err)
}

func run(c *verb.Call, args []string) error {
	err := c.Parse(args)
	switch {
	case err != nil:
		return err
	case c.Verb != nil && c.Help:
		c.Verb.Explain(c.Out)
		return nil
	case c.Verb != nil:
		return c.Verb.Run(c)
	case c.Help:
		overview(c.Out)
		return nil
	}
	overview(term.Stderr())
	return exit.CommandStatus(exit.Usage)
}

// report tells of an error and gives its exit status.
func report(c *verb.Call, err error) int {
	if err == nil {
		return 0
	}
	var passed exit.CommandStatus
	if errors.As(err, &passed) {
		return int(passed)
	}
	var killed process.Signalled
	if errors.As(err, &killed) {
		process.Die(syscall.Signal(killed))
	}
	f := exit.Cannot("go on", err)
	if c.Verb != nil && c.Verb.Failed != nil {
		c.Verb.Failed(f)
	}
	if f.Exit == 0 && !c.Verbose { // -E 0: not even a word
		return 0
	}
	tell := term.Stderr()
	tell.Text("ipcctl: ").Clean(f.Text).Text("\n")
	if f.Hint != "" && !c.Quiet {
		tell.Text("hint: ").Clean(f.Hint).Text("\n")
	}
	_ = tell.Flush() // there is nowhere to complain
	return f.Exit
}

// self is the beginning of a command line for it, with the daemon that this one talks to.
func self(c *verb.Call) []string {
	if c.Address == "" {
		return []string{process.Program()}
	}
	return []string{process.Program(), "--socket=" + c.Address}
}
