package term

import (
	"strings"
	"unicode/utf8"
)

// Columns prints what things are called beside what they mean.
func Columns(o *Output, rows [][2]string) {
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
			o.Clean(lead).Text("\n")
			lead = string(Blanks(left + 2))
		} else {
			lead += string(Blanks(left - n))
		}
		Hanging(o, lead+"  ", r[1])
	}
}

// Wrap prints a paragraph whose lines all begin with indent.
func Wrap(o *Output, indent, paragraph string) { fill(o, indent, indent, paragraph) }

// Hanging prints a paragraph after a lead, its other lines indented by as much.
func Hanging(o *Output, lead, paragraph string) {
	fill(o, lead, string(Blanks(utf8.RuneCountInString(lead))), paragraph)
}

func fill(o *Output, lead, indent, paragraph string) {
	width := min(o.Columns(), 100)
	o.Clean(lead)
	at, begins := utf8.RuneCountInString(lead), true
	typed := false // inside backquotes
	for _, word := range strings.Fields(paragraph) {
		n := utf8.RuneCountInString(word) - strings.Count(word, "`")
		if !begins && at+1+n > width {
			o.Text("\n").Clean(indent)
			at, begins = utf8.RuneCountInString(indent), true
		}
		if !begins {
			o.Text(" ")
			at++
		}
		for i, part := range strings.Split(word, "`") {
			if i > 0 {
				typed = !typed
			}
			if typed {
				o.Styled(Bold, part)
			} else {
				o.Clean(part)
			}
		}
		at, begins = at+n, false
	}
	o.Text("\n")
}
