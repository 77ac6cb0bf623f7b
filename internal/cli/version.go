package cli

import (
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/version"
)

func versionVerb() *verb.Verb {
	return &verb.Verb{
		Name:     "version",
		Group:    "ipcctl itself",
		Summary:  "Print the version of ipcctl",
		Synopsis: []string{""},
		About:    []string{"`ipcctl status` tells that of the daemon."},
		Local:    true,
		Run: func(c *verb.Call) error {
			if c.JSON {
				var o term.Object
				o.Text("version", version.String())
				c.Out.Object(&o)
				return nil
			}
			c.Out.Text("ipcctl ").Clean(version.String()).Text("\n")
			return nil
		},
	}
}
