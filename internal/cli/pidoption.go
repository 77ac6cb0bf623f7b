package cli

import (
	"errors"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/verb"
)

// pidOption is -p, mostly with $$. That is nothing to systemd, which makes one $ of it and has no shell, and neither is an unset variable.
func pidOption(to *int, help string) verb.Option {
	o := verb.Number('p', "pid", "PID", to, 1, verb.Many, help)
	number := o.Set
	o.Set = func(s string) error {
		err := number(s)
		var e verb.Expectation
		if errors.As(err, &e) && (s == "" || strings.HasPrefix(s, "$")) {
			e.Examples = "in a shell: --parent, or -p $$; a unit has none: acquire --unit %n, -p $MAINPID in its ExecStartPost=, or ExecStart=ipcctl lock NAME -- CMD"
			return e
		}
		return err
	}
	return o
}
