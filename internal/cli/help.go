package cli

func help() *Verb {
	return &Verb{
		Name:     "help",
		Group:    "ipcctl itself",
		Summary:  "Explain a verb",
		Synopsis: []string{"[VERB]"},
		About:    []string{"Without VERB, lists the verbs. `ipcctl VERB -h` does the same."},
		Local:    true,
		words:    []string{"VERB"},
		most:     1,
		run: func(c *call) error {
			if len(c.words) == 0 {
				overview(c.out)
				return nil
			}
			v, err := c.table.find(c.words[0])
			if err != nil {
				return err
			}
			v.explain(c.out)
			return nil
		},
	}
}

// overview is what ipcctl says of itself.
func overview(o *output) {
	o.styled(bold, "ipcctl").text(": messages and locks between the processes of this machine\n\n")
	o.text("usage: ipcctl [OPTION…] VERB …\n")
	shown := Verbs()
	for _, group := range groups {
		o.text("\n").styled(bold, group).text("\n")
		for _, v := range shown {
			if v.Group == group {
				hanging(o, "  "+v.Name+string(blanks(12-len(v.Name))), v.Summary)
			}
		}
	}
	o.text("\n").styled(bold, "With every verb").text("\n")
	optionList(o, GlobalOptions())
	o.text("\n").styled(bold, "For a start").text("\n")
	o.text("  ipcctl sub deploy/#                  print what is said under deploy/\n")
	o.text("  ipcctl pub deploy/done v2            say something\n")
	o.text("  ipcctl lock backup -- ./backup.sh    run it, but never twice at a time\n")
	o.text("\nMore: ipcctl VERB -h, man ipcctl\n")
	_ = o.flush() // to standard error, or Main will tell
}
