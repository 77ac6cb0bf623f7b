package cli

import (
	"errors"
	"os"

	"github.com/ipcd/ipcd/internal/printable"
)

type waitVerb struct{ timeout span }

func wait() *Verb {
	var w waitVerb
	return &Verb{
		Name:     "wait",
		Group:    "Messages",
		Summary:  "Wait for one message",
		Synopsis: []string{"[-w D] FILTER", "[-w D] FILTER -- CMD [ARG…]"},
		About: []string{
			"Prints the next message that FILTER matches, as `sub` does, and ends; with `-q` it prints nothing. With CMD it first listens and then " +
				"starts CMD, so that a message which CMD brings about cannot be missed.",
			"If CMD fails, the wait is over with CMD's status. If it succeeds, the wait goes on. When the message comes " +
				"first, or time is over, CMD is left running.",
		},
		Options: []Option{duration('w', "timeout", &w.timeout, "Fail with 124 if no message came after this time")},
		Examples: []Example{
			{"ipcctl wait app/ready", "Wait until somebody says so."},
			{"ipcctl wait -w 30s app/ready -- systemctl restart app", "Restart, and wait until it is ready."},
		},
		Exits:   []int{exitData, exitTimeout, exitNoExec, exitNoCmd},
		words:   []string{"FILTER"},
		least:   1,
		most:    1,
		grammar: wordsCommand,
		run:     w.run,
	}
}

func (w *waitVerb) run(c *call) error {
	filter := c.words[0]
	file := ""
	if c.command != nil {
		var err error
		if file, err = lookPath(c.command[0]); err != nil {
			return err
		}
	}
	deadline := w.timeout.deadline()
	in, err := c.receive([]string{filter})
	if err != nil {
		return err
	}
	in.lost = func(int64, string) {} // one message is enough
	outcome := make(chan error, 2)   // the first one counts: the message, or CMD's failure
	var m message
	if c.command != nil {
		p, err := spawn(file, c.command, os.Environ(), os.Stdin)
		if err != nil {
			return err
		}
		go func() {
			if status, err := ended(p); err != nil {
				outcome <- err
			} else if status != 0 {
				outcome <- status
			}
		}()
	}
	go func() {
		var err error
		m, err = in.next(deadline)
		outcome <- err
	}()
	err = <-outcome
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return w.timeout.timedOut("wait for " + printable.Name(filter))
	}
	if err == nil && !c.quiet {
		f := format{json: c.json, end: "\n"}
		f.print(c.out, &m)
	}
	return err
}
