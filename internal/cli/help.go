package cli

import (
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

func help() *verb.Verb {
	return &verb.Verb{
		Name:     "help",
		Group:    "ipcctl itself",
		Summary:  "Explain a verb",
		Synopsis: []string{"[VERB]"},
		About:    []string{"Without VERB, lists the verbs. `ipcctl VERB -h` does the same."},
		Local:    true,
		Words:    []string{"VERB"},
		Most:     1,
		Run: func(c *verb.Call) error {
			if len(c.Words) == 0 {
				overview(c.Out)
				return nil
			}
			v, err := c.Table.Find(c.Words[0])
			if err != nil {
				return err
			}
			v.Explain(c.Out)
			return nil
		},
	}
}

// overview is what ipcctl says of itself.
func overview(o *term.Output) {
	o.Styled(term.Bold, "ipcctl").Text(": messages and locks between the processes of this machine\n\n")
	o.Text("usage: ipcctl [OPTION…] VERB …\n")
	shown := Verbs()
	for _, group := range groups {
		o.Text("\n").Styled(term.Bold, group).Text("\n")
		for _, v := range shown {
			if v.Group == group {
				term.Hanging(o, "  "+v.Name+string(term.Blanks(12-len(v.Name))), v.Summary)
			}
		}
	}
	o.Text("\n").Styled(term.Bold, "With every verb").Text("\n")
	verb.OptionList(o, verb.GlobalOptions())
	o.Text("\n").Styled(term.Bold, "For a start").Text("\n")
	o.Text("  ipcctl sub deploy/#                  print all messages under deploy/\n")
	o.Text("  ipcctl pub deploy/done v2            send a message\n")
	o.Text("  ipcctl lock backup -- ./backup.sh    run it, never twice at a time\n")
	o.Text("\nMore: ipcctl VERB -h, man ipcctl\n")
	_ = o.Flush() // to standard error, or Main will tell
}
