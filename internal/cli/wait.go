package cli

import (
	"errors"
	"os"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
)

type waitVerb struct{ timeout verb.Span }

func wait() *verb.Verb {
	var w waitVerb
	return &verb.Verb{
		Name:     "wait",
		Group:    "Messages",
		Summary:  "Wait for one message",
		Synopsis: []string{"[-w D] FILTER", "[-w D] FILTER -- CMD [ARG…]"},
		About: []string{
			"Prints the next message that FILTER matches, as `sub` does, and ends. What was published before with `pub --retain` does " +
				"not count: see `get`. With `-q` it prints nothing. With CMD, it " +
				"first subscribes and then starts CMD, so it cannot miss a message that CMD causes.",
			"When the daemon ends, ipcctl waits for the next one, and listens there: see `--wait-daemon`. It says that the " +
				"message may be missing.",
			"If CMD fails, the wait ends with CMD's status. If CMD succeeds, the wait goes on. If the message comes first, or " +
				"the time is over, CMD is left running.",
		},
		Options: []verb.Option{verb.Duration('w', "timeout", &w.timeout, "Fail with 124 if no message came after this time")},
		Examples: []verb.Example{
			{Line: "ipcctl wait app/ready", Help: "Wait until somebody publishes it."},
			{Line: "ipcctl wait -w 30s app/ready -- systemctl restart app", Help: "Restart, and wait until it is ready."},
		},
		Exits:   []int{exit.Data, exit.Timeout, exit.NoExec, exit.NoCmd},
		Words:   []string{"FILTER"},
		Least:   1,
		Most:    1,
		Grammar: verb.WordsCommand,
		Run:     w.run,
	}
}

func (w *waitVerb) run(c *verb.Call) error {
	filter := c.Words[0]
	file := ""
	if c.Command != nil {
		var err error
		if file, err = lookPath(c, c.Command[0]); err != nil {
			return err
		}
	}
	deadline := w.timeout.Deadline()
	in, err := receive(c, []string{filter}, takeFiles)
	if err != nil {
		return err
	}
	in.live = true                   // what was there before is no answer
	in.lost = func(int64, string) {} // one message is enough
	in.resumed = func() { c.Say("ipcd was restarted: the message may be missing") }
	outcome := make(chan error, 2) // the first one counts: the message, or CMD's failure
	var m message
	if c.Command != nil {
		p, err := process.Spawn(file, c.Command, os.Environ(), os.Stdin)
		if err != nil {
			return err
		}
		go func() {
			if status, err := process.Ended(p); err != nil {
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
		return w.timeout.TimedOut("wait for " + printable.Name(filter))
	}
	if err == nil && !c.Quiet {
		f := format{json: c.JSON, end: "\n"}
		f.print(c.Out, &m)
	}
	return err
}
