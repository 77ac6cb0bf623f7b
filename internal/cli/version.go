package cli

import "github.com/ipcd/ipcd/internal/version"

func versionVerb() *Verb {
	return &Verb{
		Name:     "version",
		Group:    "ipcctl itself",
		Summary:  "Print the version of ipcctl",
		Synopsis: []string{""},
		About:    []string{"`ipcctl status` tells that of the daemon."},
		Local:    true,
		run: func(c *call) error {
			if c.json {
				var o object
				o.text("version", version.String())
				c.out.object(&o)
				return nil
			}
			c.out.text("ipcctl ").clean(version.String()).text("\n")
			return nil
		},
	}
}
