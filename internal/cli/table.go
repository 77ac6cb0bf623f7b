package cli

import (
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/printable"
)

// A table is rows of cells under a header. The last column is not padded.
type grid struct {
	header []string
	rows   [][]string
}

func (t *grid) add(cells ...string) { t.rows = append(t.rows, cells) }

// print lays the table out on a terminal, and writes tab-separated lines without a header elsewhere. Either way an
// empty cell is "-", so that no column is ever missing.
func (t *grid) print(o *output) {
	if !o.tty {
		for _, row := range t.rows {
			for i, cell := range row {
				if i > 0 {
					o.text("\t")
				}
				o.clean(dashed(cell))
			}
			o.text("\n")
		}
		return
	}
	if len(t.rows) == 0 {
		return
	}
	width := make([]int, len(t.header))
	for i, cell := range t.header {
		width[i] = len(cell)
	}
	for _, row := range t.rows {
		for i, cell := range row {
			row[i] = printable.Escape(dashed(cell))
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	t.line(o, t.header, width, bold)
	for _, row := range t.rows {
		t.line(o, row, width, "")
	}
}

func (t *grid) line(o *output, cells []string, width []int, style literal) {
	for i, cell := range cells {
		o.styled(style, cell)
		if i+1 < len(cells) {
			o.text(blanks(width[i] - utf8.RuneCountInString(cell) + 2))
		}
	}
	o.text("\n")
}

func dashed(cell string) string {
	if cell == "" {
		return "-"
	}
	return cell
}

func blanks(n int) literal {
	const some literal = "                                                                "
	for s := some; ; s += some {
		if n <= len(s) {
			return s[:max(n, 0)]
		}
	}
}
