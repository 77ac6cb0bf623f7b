package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func example() result {
	return result{
		row: row{name: "PING", place: same, unit: microseconds},
		series: []series{
			{name: "ipcd", values: []float64{9e-6, 30e-6, 10e-6}, cpus: []float64{4e-6, 4e-6, 4e-6}},
			{name: "redis", values: []float64{10e-6, 40e-6, 10e-6}, cpus: []float64{5e-7, 5e-7, 5e-7}, target: target{most: .92}},
			{name: "raw", values: []float64{8e-6, 24e-6, 8e-6}, cpus: []float64{0, 0, 0}, target: target{most: 1.15}},
		},
	}
}

// A ratio is the median of those of each round, not the ratio of the medians: a busy round hits all of a row.
func TestTable(t *testing.T) {
	var out strings.Builder
	tab := newTable(&out, []string{"a machine"})
	tab.add(example())
	tab.end()
	for _, want := range []string{
		"PING same 10.0 µs redis 10.0 µs 0.90 0.75-1.00 ≤ 0.92 met 4.00 µs 500 ns",
		"raw 8.00 µs 1.25 1.12-1.25 ≤ 1.15 not met",
		"1 of 2 targets met",
		"not met: PING, same: 1.25 of raw",
	} {
		if got := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// A target that the bare server misses, too, is told with what it reaches.
func TestFloor(t *testing.T) {
	r := result{
		row: row{name: "PING", place: split, unit: millions},
		series: []series{
			{name: "ipcd", values: []float64{2e6, 2e6}, cpus: []float64{0}},
			{name: "redis", values: []float64{1e6, 1e6}, cpus: []float64{0}, target: target{least: 2.2}},
			{name: "bare", values: []float64{2.1e6, 2.1e6}, cpus: []float64{0}, target: target{least: .99}},
		},
	}
	var out strings.Builder
	tab := newTable(&out, nil)
	tab.add(r)
	r.series[2].values = []float64{3e6, 3e6}
	tab.add(r)
	tab.end()
	for _, want := range []string{
		"redis 1.00 M/s 2.00 2.00-2.00 ≥ 2.20 not met, floor 2.10",
		"bare 2.10 M/s 0.95 0.95-0.95 ≥ 0.99 not met",
		"redis 1.00 M/s 2.00 2.00-2.00 ≥ 2.20 not met bare 3.00 M/s",
		"0 of 4 targets met",
		"not met: PING, split: 2.00 of redis not met: PING, split: 0.67 of bare",
		"beyond reach here: PING, split: 2.00 of redis, the floor 2.10",
	} {
		if got := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct {
		target      target
		ratio, ours float64
		met         bool
		verdict     string
	}{
		{target{}, 5, 5, true, ""},
		{target{most: .9}, .9, 5, true, "≤ 0.90 met"},
		{target{most: .9}, .91, 5, false, "≤ 0.90 not met"},
		{target{least: 2}, 2, 5, true, "≥ 2.00 met"},
		{target{least: 2}, 1.9, 5, false, "≥ 2.00 not met"},
		{target{ours: 1000}, .1, 1001, false, "≤ 1000 B not met"},
	} {
		if met := c.target.met(c.ratio, c.ours); met != c.met {
			t.Errorf("%+v, ratio %v, ours %v: met %v", c.target, c.ratio, c.ours, met)
		}
		if v := c.target.verdict(c.ratio, c.ours, plainBytes); v != c.verdict {
			t.Errorf("%+v, ratio %v: %q, want %q", c.target, c.ratio, v, c.verdict)
		}
	}
}

func TestWriteInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+beginMark+"old\n"+endMark+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tab := newTable(&strings.Builder{}, nil)
	tab.add(example())
	if err := tab.writeInto(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "before\n"+beginMark) || !strings.HasSuffix(got, endMark+"after\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, "| PING | same | 10.0 µs | redis 10.0 µs |") {
		t.Errorf("the document is now\n%s", got)
	}
}
