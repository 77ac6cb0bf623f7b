package verb

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
)

// Explain is what -h prints.
func (v *Verb) Explain(o *term.Output) {
	o.Styled(term.Bold, "ipcctl "+v.Name).Text(": ").Clean(lowerFirst(v.Summary)).Text("\n\n")
	for i, form := range v.Synopsis {
		lead := "usage: ipcctl " + v.Name
		if i > 0 {
			lead = "       ipcctl " + v.Name
		}
		if form != "" {
			lead += " "
		}
		term.Hanging(o, lead, form)
	}
	for _, paragraph := range v.About {
		o.Text("\n")
		term.Wrap(o, "", paragraph)
	}
	if len(v.Options) > 0 {
		o.Text("\n").Styled(term.Bold, "Options").Text("\n")
		OptionList(o, v.Options)
	}
	if len(v.Env) > 0 {
		o.Text("\n").Styled(term.Bold, "In the environment of CMD").Text("\n")
		var rows [][2]string
		for _, e := range v.Env {
			rows = append(rows, [2]string{e.Name, e.Help})
		}
		term.Columns(o, rows)
	}
	if len(v.Examples) > 0 {
		o.Text("\n").Styled(term.Bold, "Examples").Text("\n")
		for _, e := range v.Examples {
			o.Text("  ").Styled(term.Bold, e.Line).Text("\n")
			term.Wrap(o, "      ", e.Help)
		}
	}
	o.Text("\n").Styled(term.Bold, "Exit status").Text("\n")
	var rows [][2]string
	for _, s := range exit.Statuses {
		if s.Code == 0 || slices.Contains(v.Exits, s.Code) {
			rows = append(rows, [2]string{strings.TrimSpace(strconv.Itoa(s.Code) + " " + s.Name), s.Meaning})
		}
	}
	term.Columns(o, rows)
	term.Wrap(o, "  ", "As any verb may: "+v.commonExits()+".")
	o.Text("\n")
	term.Wrap(o, "", "With every verb: --socket --user --system --wait-daemon --json -q -v -h; see ipcctl -h")
}

// commonExits names the failures that this verb has in common with others.
func (v *Verb) commonExits() string {
	var names []string
	for _, s := range exit.Statuses {
		common := slices.Contains(exit.Common, s.Code) || !v.Local && slices.Contains(exit.CommonDaemon, s.Code)
		if common && s.Code != 0 && !slices.Contains(v.Exits, s.Code) {
			names = append(names, strconv.Itoa(s.Code)+" "+s.Name)
		}
	}
	return strings.Join(names, ", ")
}

// OptionList prints what options are for.
func OptionList(o *term.Output, options []Option) {
	var rows [][2]string
	for i := range options {
		names := options[i].Names()
		if options[i].Short == 0 {
			names = "    " + names
		}
		rows = append(rows, [2]string{names, options[i].Help})
	}
	term.Columns(o, rows)
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
