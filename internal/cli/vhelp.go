package cli

import (
	"slices"
	"strconv"
	"strings"
)

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

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
