package cli

import (
	"strings"
	"unicode/utf8"
)

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
