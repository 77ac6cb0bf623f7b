package cli

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

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
			v := find(c.words[0])
			if v == nil {
				return unknownVerb(c.words[0])
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

// explain is what -h prints.
func (v *Verb) explain(o *output) {
	o.styled(bold, "ipcctl "+v.Name).text(": ").clean(lowerFirst(v.Summary)).text("\n\n")
	for i, form := range v.Synopsis {
		lead := "usage: ipcctl " + v.Name
		if i > 0 {
			lead = "       ipcctl " + v.Name
		}
		if form != "" {
			lead += " "
		}
		hanging(o, lead, form)
	}
	for _, paragraph := range v.About {
		o.text("\n")
		wrap(o, "", paragraph)
	}
	if len(v.Options) > 0 {
		o.text("\n").styled(bold, "Options").text("\n")
		optionList(o, v.Options)
	}
	if len(v.Env) > 0 {
		o.text("\n").styled(bold, "In the environment of CMD").text("\n")
		var rows [][2]string
		for _, e := range v.Env {
			rows = append(rows, [2]string{e.Name, e.Help})
		}
		columns(o, rows)
	}
	if len(v.Examples) > 0 {
		o.text("\n").styled(bold, "Examples").text("\n")
		for _, e := range v.Examples {
			o.text("  ").styled(bold, e.Line).text("\n")
			wrap(o, "      ", e.Help)
		}
	}
	o.text("\n").styled(bold, "Exit status").text("\n")
	var rows [][2]string
	for _, s := range Statuses {
		if s.Code == 0 || slices.Contains(v.Exits, s.Code) {
			rows = append(rows, [2]string{strings.TrimSpace(strconv.Itoa(s.Code) + " " + s.Name), s.Meaning})
		}
	}
	columns(o, rows)
	wrap(o, "  ", "As any verb may: "+v.commonExits()+".")
	o.text("\nWith every verb: --socket --user --system --json -q -v -h; see ipcctl -h\n")
}

// commonExits names the failures that this verb has in common with others.
func (v *Verb) commonExits() string {
	var names []string
	for _, s := range Statuses {
		common := slices.Contains(Common, s.Code) || !v.Local && slices.Contains(CommonDaemon, s.Code)
		if common && s.Code != 0 && !slices.Contains(v.Exits, s.Code) {
			names = append(names, strconv.Itoa(s.Code)+" "+s.Name)
		}
	}
	return strings.Join(names, ", ")
}

func optionList(o *output, options []Option) {
	var rows [][2]string
	for i := range options {
		names := options[i].Names()
		if options[i].Short == 0 {
			names = "    " + names
		}
		rows = append(rows, [2]string{names, options[i].Help})
	}
	columns(o, rows)
}

// columns prints what things are called beside what they mean.
func columns(o *output, rows [][2]string) {
	const widest = 26
	left := 0
	for _, r := range rows {
		if n := utf8.RuneCountInString(r[0]); n <= widest {
			left = max(left, n)
		}
	}
	for _, r := range rows {
		lead := "  " + r[0]
		if n := utf8.RuneCountInString(r[0]); n > left {
			o.clean(lead).text("\n")
			lead = string(blanks(left + 2))
		} else {
			lead += string(blanks(left - n))
		}
		hanging(o, lead+"  ", r[1])
	}
}

// wrap prints a paragraph whose lines all begin with indent.
func wrap(o *output, indent, paragraph string) { fill(o, indent, indent, paragraph) }

// hanging prints a paragraph after a lead, its other lines indented by as much.
func hanging(o *output, lead, paragraph string) {
	fill(o, lead, string(blanks(utf8.RuneCountInString(lead))), paragraph)
}

func fill(o *output, lead, indent, paragraph string) {
	width := min(o.columns(), 100)
	o.clean(lead)
	at, begins := utf8.RuneCountInString(lead), true
	typed := false // inside backquotes
	for _, word := range strings.Fields(paragraph) {
		n := utf8.RuneCountInString(word) - strings.Count(word, "`")
		if !begins && at+1+n > width {
			o.text("\n").clean(indent)
			at, begins = utf8.RuneCountInString(indent), true
		}
		if !begins {
			o.text(" ")
			at++
		}
		for i, part := range strings.Split(word, "`") {
			if i > 0 {
				typed = !typed
			}
			if typed {
				o.styled(bold, part)
			} else {
				o.clean(part)
			}
		}
		at, begins = at+n, false
	}
	o.text("\n")
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
