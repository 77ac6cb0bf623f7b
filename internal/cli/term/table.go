package term

import (
	"slices"
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/printable"
)

// A Table is rows of cells under a header. The last column is not padded.
type Table struct {
	Header []string
	Names  []string // headers of the columns that are cut in the middle where a terminal has no room for all
	Hidden []string // headers of the columns that a terminal is not shown
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
	columns := make([]column, 0, len(t.Header))
	for i, header := range t.Header {
		if slices.Contains(t.Hidden, header) {
			continue
		}
		c := column{cells: []string{header}, width: len(header), name: slices.Contains(t.Names, header)}
		for _, row := range t.rows {
			cell := printable.Escape(Dashed(row[i]))
			c.cells = append(c.cells, cell)
			c.width = max(c.width, utf8.RuneCountInString(cell))
		}
		columns = append(columns, c)
	}
	fit(columns, o.Columns())
	for n := 0; n <= len(t.rows); n++ {
		style := Literal("")
		if n == 0 {
			style = Bold
		}
		for i := range columns {
			columns[i].print(o, n, style, i+1 == len(columns))
		}
		o.Text("\n")
	}
}

// A column is one of a table on a terminal.
type column struct {
	cells []string // escaped, the header first
	width int      // that it may take
	name  bool     // it is cut in the middle
}

func (c *column) print(o *Output, n int, style Literal, last bool) {
	cell := c.cells[n]
	if c.name {
		cell = CutMiddle(cell, c.width)
	} else {
		cell = Cut(cell, c.width)
	}
	o.Styled(style, cell)
	if !last {
		o.Text(Blanks(c.width - utf8.RuneCountInString(cell) + gap))
	}
}

const (
	gap = 2 // between two columns
	// shortest is how much is left of a name at least, and remark how much of the last column, if it has so much.
	shortest, remark = 12, 20
)

// fit has the columns take no more than a line. Names give way first, the longest one before the others; what is left after that
// is the last column's.
func fit(columns []column, line int) {
	last := &columns[len(columns)-1]
	before := 0
	for i := range columns[:len(columns)-1] {
		before += columns[i].width + gap
	}
	for before+min(last.width, remark) > line {
		var longest *column
		for i := range columns[:len(columns)-1] {
			if c := &columns[i]; c.name && c.width > shortest && (longest == nil || c.width > longest.width) {
				longest = c
			}
		}
		if longest == nil {
			break
		}
		longest.width--
		before--
	}
	last.width = min(last.width, max(line-before, len(last.cells[0])))
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
