package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/cli"
	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

// A page is a man page in mdoc(7) that is being written.
type page struct{ strings.Builder }

func (p *page) line(s string) { p.WriteString(s + "\n") }

const (
	paragraph = ".Pp"
	listBegin = ".Bl -tag -width Ds"
	listEnd   = ".El"
)

// escape keeps text from being taken for roff.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "…", "...", "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "'", `\(aq`).Replace(s)
}

// text writes a paragraph. `Backquotes` become bold.
func (p *page) text(s string) {
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		if i%2 == 0 {
			b.WriteString(escape(part))
		} else {
			b.WriteString(bold(part))
		}
	}
	p.fill(b.String())
}

func bold(s string) string { return `\fB` + strings.ReplaceAll(escape(s), "-", `\-`) + `\fR` }

// fill writes text in lines of at most 78 bytes, each sentence on a line of its own, as mdoc wants it: then a change
// is a change of few lines.
func (p *page) fill(s string) {
	line := ""
	flush := func() {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line // no macro
		}
		if line != "" {
			p.WriteString(line + "\n")
		}
		line = ""
	}
	for _, word := range strings.Fields(s) {
		if line != "" && len(line)+1+len(word) > 78 {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
		if strings.HasSuffix(word, ".") || strings.HasSuffix(word, "?") {
			flush()
		}
	}
	flush()
}

func (p *page) options(options []verb.Option) {
	p.line(listBegin)
	for i := range options {
		o := &options[i]
		line := []string{}
		if o.Short != 0 {
			line = append(line, "Fl "+string(o.Short))
		}
		if o.Long != "" {
			long := "Fl -" + strings.ReplaceAll(o.Long, "-", `\-`)
			if o.Value != "" {
				long += " Ns = Ns Ar " + o.Value
			}
			line = append(line, long)
		} else if o.Value != "" {
			line[0] += " Ar " + o.Value
		}
		p.line(".It " + strings.Join(line, " , "))
		p.text(o.Help + ".")
	}
	p.line(listEnd)
}

// manPage is ipcctl(1).
func manPage() string {
	var p page
	p.line(`.\" Made from the table of verbs by "make generate".`)
	p.line(".Dd $Mdocdate$\n.Dt IPCCTL 1\n.Os")
	p.line(".Sh NAME\n.Nm ipcctl\n.Nd messages and locks between the processes of this machine")
	p.line(".Sh SYNOPSIS")
	for _, v := range cli.Verbs() {
		for _, form := range v.Synopsis {
			p.line(".Nm\n.Cm " + v.Name)
			p.synopsis(form)
		}
	}
	p.line(".Sh DESCRIPTION")
	p.text("`ipcctl` talks to ipcd(8), the daemon that carries messages and keeps locks for the processes of one machine. " +
		"It is meant for shell scripts: a verb that only acts says nothing on success, every failure has its own exit status, " +
		"and no failure exits 0.")
	p.line(paragraph)
	p.text("On a terminal, output is laid out for people. Elsewhere it is tab-separated lines without a header, and with " +
		"`--json` one JSON object a line, to which fields are only ever added.")
	p.line(paragraph)
	p.text("In text that others chose (the name of a process or a lock, a reason, an error), everything is escaped that is not printable, " +
		"on a terminal or not: control characters as in \\x1b, line breaks and tabs as \\n and \\t, and characters that turn the direction of " +
		"text or cannot be seen as in \\u202e. `--json` gives a program the text as it is. Messages, which `sub` and `wait` print, and " +
		"the replies of `raw` are data: they are printed byte for byte, and escaped only on a terminal.")
	p.line(paragraph)
	p.text("Durations are written as 300ms, 5min, 2h30m or 1d. A plain number, also a decimal one, means seconds.")
	p.line(paragraph)
	p.text("With every verb:")
	p.options(verb.GlobalOptions())
	for _, v := range cli.Verbs() {
		p.verb(v)
	}
	p.environment()
	p.line(".Sh FILES\n" + listBegin + "\n.It Pa /run/ipcd/ipcd.sock")
	p.text("The socket of the system's daemon.")
	p.line(".It Pa $XDG_RUNTIME_DIR/ipcd/ipcd.sock")
	p.text("The socket of your own daemon.")
	p.line(listEnd)
	p.exits()
	p.line(".Sh SEE ALSO\n.Xr flock 1 ,\n.Xr ipcd.toml 5 ,\n.Xr ipcd 8")
	return p.String()
}

// synopsis marks up a form such as "[-n N] NAME [--] CMD [ARG…]": what is in capitals is to be replaced.
func (p *page) synopsis(form string) {
	var words []string
	for _, word := range strings.Fields(strings.ReplaceAll(form, "…", " …")) {
		core := strings.Trim(word, "[]")
		switch {
		case core == "":
		case strings.HasPrefix(core, "-"):
			word = strings.Replace(word, core, bold(core), 1)
		case strings.ToUpper(core) == core && core != "…":
			word = strings.Replace(word, core, `\fI`+escape(core)+`\fR`, 1)
		default:
			word = escape(word)
		}
		words = append(words, word)
	}
	p.fill(strings.Join(words, " "))
}

func (p *page) verb(v *verb.Verb) {
	p.line(".Ss ipcctl " + v.Name)
	p.text(v.Summary + ".")
	for _, about := range v.About {
		p.line(paragraph)
		p.text(about)
	}
	if len(v.Options) > 0 {
		p.line(paragraph)
		p.text("Options:")
		p.options(v.Options)
	}
	if len(v.Env) > 0 {
		p.line(paragraph)
		p.text("In the environment of CMD:")
		p.line(listBegin)
		for _, e := range v.Env {
			p.line(".It Ev " + e.Name)
			p.text(strings.ToUpper(e.Help[:1]) + e.Help[1:] + ".")
		}
		p.line(listEnd)
	}
	if len(v.Examples) > 0 {
		p.line(paragraph)
		p.text("Examples:")
		for _, e := range v.Examples {
			p.line(paragraph)
			p.text(e.Help)
			p.line(".Dl " + strings.ReplaceAll(escape(e.Line), "-", `\-`))
		}
	}
}

func (p *page) exits() {
	p.line(".Sh EXIT STATUS")
	p.text("A verb that runs CMD exits with CMD's status. So a status below means that CMD did not run, unless it is CMD's own. A signal " +
		"kills ipcctl as it would any program.")
	p.line(listBegin)
	for _, s := range exit.Statuses {
		verbs := givers(s.Code)
		if verbs == "" && !common(s.Code) {
			continue // of verbs that are still to come
		}
		p.line(strings.TrimSpace(fmt.Sprintf(".It %d %s", s.Code, s.Name)))
		text := strings.ToUpper(s.Meaning[:1]) + s.Meaning[1:] + "."
		if verbs != "" && !common(s.Code) {
			text += " Given by " + verbs + "."
		}
		p.text(text)
	}
	p.line(listEnd)
}

// common reports whether any verb may give a status.
func common(code int) bool {
	return slices.Contains(exit.Common, code) || slices.Contains(exit.CommonDaemon, code)
}

// givers are the verbs whose rows name a status.
func givers(code int) string {
	var names []string
	for _, v := range cli.Verbs() {
		if slices.Contains(v.Exits, code) {
			names = append(names, v.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (p *page) environment() {
	p.line(".Sh ENVIRONMENT\n" + listBegin)
	for _, e := range [][2]string{
		{"IPCD_SOCKET", "The daemon to talk to, unless an option names one: a path, `system` or `user`."},
		{"IPC_LOCKS", "The holds that ipcctl runs under, and may enter: lines of TOKEN NAME. `ipcctl lock` sets it for CMD."},
		{"NO_COLOR", "If it is set, terminals get no colour."},
		{"SHELL", "What runs the string of `ipcctl lock -c`."},
		{"PATH", "Where CMD is looked for."},
	} {
		p.line(".It Ev " + e[0])
		p.text(e[1])
	}
	p.line(listEnd)
}
