package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// A unit is how a value is written.
type unit struct {
	name  string
	scale float64
}

var (
	nanoseconds  = unit{"ns", 1e9}
	microseconds = unit{"µs", 1e6}
	milliseconds = unit{"ms", 1e3}
	millions     = unit{"M/s", 1e-6}
	megabytes    = unit{"MB", 1e-6}
	plainBytes   = unit{"B", 1}
	gigabytes    = unit{"GB/s", 1e-9}
)

func (u unit) format(v float64) string { return digits(v*u.scale) + " " + u.name }

// digits writes three significant digits.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// A table prints each result as a line for each rival, as soon as it is there.
type table struct {
	w      io.Writer
	facts  []string
	lines  [][]string
	aims   int
	missed []string
	beyond []string // what the bare server misses, too
}

var columns = []string{"what", "where", "ipcd", "rival", "ratio", "spread", "target", "CPU/op", "rival's"}

// widths of the columns on a terminal; the last is open.
var widths = []int{50, 5, 9, 20, 6, 11, 26, 8, 0}

func newTable(w io.Writer, facts []string) *table {
	t := &table{w: w, facts: facts}
	for _, f := range facts {
		fmt.Fprintln(w, f)
	}
	fmt.Fprintln(w)
	t.print(columns)
	return t
}

func (t *table) print(cells []string) {
	var b strings.Builder
	for i, c := range cells {
		b.WriteString(c)
		if pad := widths[i] - utf8.RuneCountInString(c); i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", max(pad, 0)+2))
		}
	}
	fmt.Fprintln(t.w, strings.TrimRight(b.String(), " "))
}

func (t *table) add(r result) {
	ours := r.series[0]
	if len(r.series) == 1 {
		t.line([]string{r.name, r.place.String(), r.unit.format(median(ours.values)), "", "", "", "", ours.cpu(), ""})
	}
	for i, s := range r.series[1:] {
		name, where, value, cpu := r.name, r.place.String(), r.unit.format(median(ours.values)), ours.cpu()
		if i > 0 {
			name, where, value, cpu = "", "", "", ""
		}
		ratios := ours.over(s)
		ratio := median(ratios)
		verdict := s.target.verdict(ratio, median(ours.values), r.unit)
		if s.target != (target{}) {
			t.aims++
			miss := fmt.Sprintf("%s, %v: %s of %s", r.name, r.place, digits(ratio), s.name)
			switch floor, ok := r.floor(s); {
			case s.target.met(ratio, median(ours.values)):
			case ok && !s.target.met(floor, 0):
				verdict += ", floor " + digits(floor)
				t.beyond = append(t.beyond, fmt.Sprintf("%s, the floor %s", miss, digits(floor)))
			default:
				t.missed = append(t.missed, miss)
			}
		}
		t.line([]string{name, where, value, s.name + " " + r.unit.format(median(s.values)), digits(ratio),
			digits(slices.Min(ratios)) + "-" + digits(slices.Max(ratios)), verdict, cpu, s.cpu()})
	}
}

// over is the ratio of two series in each round.
func (s series) over(rival series) []float64 {
	ratios := make([]float64, len(s.values))
	for i := range ratios {
		ratios[i] = s.values[i] / rival.values[i]
	}
	return ratios
}

// floor is the ratio that the bare server reaches to a rival, if it is in the row.
func (r result) floor(rival series) (ratio float64, ok bool) {
	i := slices.IndexFunc(r.series, func(s series) bool { return s.name == bareServer })
	if i < 0 || rival.name == bareServer {
		return 0, false
	}
	return median(r.series[i].over(rival)), true
}

func (t *table) line(cells []string) {
	t.lines = append(t.lines, cells)
	t.print(cells)
}

// end says what was reached.
func (t *table) end() {
	fmt.Fprintf(t.w, "\n%d of %d targets met\n", t.aims-len(t.missed)-len(t.beyond), t.aims)
	for _, m := range t.missed {
		fmt.Fprintln(t.w, "not met:", m)
	}
	for _, m := range t.beyond {
		fmt.Fprintln(t.w, "beyond reach here:", m)
	}
}

func (a target) met(ratio, ours float64) bool {
	return (a.most == 0 || ratio <= a.most) && ratio >= a.least && (a.ours == 0 || ours <= a.ours)
}

func (a target) verdict(ratio, ours float64, u unit) string {
	var bound string
	switch {
	case a.most > 0:
		bound = "≤ " + digits(a.most)
	case a.least > 0:
		bound = "≥ " + digits(a.least)
	case a.ours > 0:
		bound = "≤ " + u.format(a.ours)
	default:
		return ""
	}
	if a.met(ratio, ours) {
		return bound + " met"
	}
	return bound + " not met"
}

// cpu is the CPU time of one operation.
func (s *series) cpu() string {
	switch v := median(s.cpus); {
	case v == 0:
		return ""
	case v < 1e-6:
		return nanoseconds.format(v)
	case v < 1e-3:
		return microseconds.format(v)
	default:
		return milliseconds.format(v)
	}
}

func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// The marks between which a document has the table.
const (
	beginMark = "<!-- make bench writes from here -->\n"
	endMark   = "<!-- to here -->\n"
)

// writeInto replaces the table in a document.
func (t *table) writeInto(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := bytes.Cut(text, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok1 || !ok2 {
		return fmt.Errorf("no marks for the table in %s", path)
	}
	return os.WriteFile(path, slices.Concat(before, []byte(beginMark), t.markdown(), []byte(endMark), after), 0o644)
}

func (t *table) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n%s.\n\n", strings.Join(t.facts, "; "))
	for i, cells := range slices.Concat([][]string{columns}, t.lines) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(columns)) + "|\n")
		}
	}
	b.WriteString("\n")
	return b.Bytes()
}
