package term

import (
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/printable"
)

// A Table is rows of cells under a header. The last column is not padded.
type Table struct {
	Header []string
	rows   [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.rows = append(t.rows, cells) }

// Print lays the table out on a terminal, and writes tab-separated lines without a header elsewhere. Either way an
// empty cell is "-", so that no column is ever missing.
func (t *Table) Print(o *Output) {
	if !o.TTY {
		for _, row := range t.rows {
			for i, cell := range row {
				if i > 0 {
					o.Text("\t")
				}
				o.Clean(Dashed(cell))
			}
			o.Text("\n")
		}
		return
	}
	if len(t.rows) == 0 {
		return
	}
	width := make([]int, len(t.Header))
	for i, cell := range t.Header {
		width[i] = len(cell)
	}
	for _, row := range t.rows {
		for i, cell := range row {
			row[i] = printable.Escape(Dashed(cell))
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	t.line(o, t.Header, width, Bold)
	for _, row := range t.rows {
		t.line(o, row, width, "")
	}
}

func (t *Table) line(o *Output, cells []string, width []int, style Literal) {
	for i, cell := range cells {
		o.Styled(style, cell)
		if i+1 < len(cells) {
			o.Text(Blanks(width[i] - utf8.RuneCountInString(cell) + 2))
		}
	}
	o.Text("\n")
}

// Dashed is a cell as it is shown: one that is empty is "-".
func Dashed(cell string) string {
	if cell == "" {
		return "-"
	}
	return cell
}

// Blanks are so many blanks.
func Blanks(n int) Literal {
	const some Literal = "                                                                "
	for s := some; ; s += some {
		if n <= len(s) {
			return s[:max(n, 0)]
		}
	}
}
