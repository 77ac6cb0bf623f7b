package cli

import (
	"errors"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

// lookPath finds the program that CMD names. If there is none, and a shell would know what is meant, it says so.
func lookPath(c *verb.Call, name string) (string, error) {
	file, err := process.LookPath(name)
	var f *exit.Failure
	if !errors.As(err, &f) || f.Exit != exit.NoCmd {
		return file, err
	}
	if why := process.ForShell(name); why != "" {
		how := "-- sh -c STRING"
		if c.Verb.Name == "lock" {
			how = "-c STRING"
		}
		f.Hint = why + ": ipcctl " + c.Verb.Name + " … " + how
	}
	return "", f
}
