package bus

import (
	"fmt"
	"slices"
	"testing"
)

// TestGroupsOfOneFilter: a filter may have very many groups, of which a step finds so many at most. All that were there when the search was
// begun and still are, are found once, in their order, whatever comes and goes meanwhile.
func TestGroupsOfOneFilter(t *testing.T) {
	const many, most = 1000, 64
	g := Groups[int, int]{MostQueued: 10, MostBytes: 1000}
	join := func(filter, group string) {
		t.Helper()
		if _, err := g.Join(1, Sharing{filter, group}); err != nil {
			t.Fatal(err)
		}
	}
	label := func(i int) string { return fmt.Sprint("g", i) }
	join("+", "first")
	var want []string
	for i := range many {
		join("a", label(i))
		if i%7 != 5 {
			want = append(want, label(i))
		}
	}
	join("b", "alone")
	join("#", "last")
	want = append(want, "first", "last")

	if found, rest := g.Search([]byte("b"), most); rest != nil || len(found) != 3 {
		t.Errorf("of few groups, %d are found at once", len(found))
	}
	found, rest := g.Search([]byte("a"), most)
	if rest == nil || len(found) > 0 {
		t.Fatalf("%d are found at once", len(found))
	}
	var got []string
	for more, step := true, 0; more; step++ {
		if found, more = rest.Next(most); len(found) > most {
			t.Fatalf("%d are found in a step", len(found))
		}
		for _, group := range found {
			got = append(got, group.of.Group)
		}
		join("a", fmt.Sprint("late", step))
		if step == 0 { // behind what was found, and before it
			for i := range many {
				if i%7 == 5 || i == 0 {
					g.Leave(1, Sharing{"a", label(i)})
				}
			}
		}
	}
	for i := 5; i < most; i += 7 { // found before they left
		want = append(want, label(i))
	}
	if slices.Sort(want); !slices.IsSortedFunc(got[:many/2], func(x, y string) int { return len(x) - len(y) }) {
		t.Errorf("not in their order: %q", got)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%d are found, want %d", len(got), len(want))
	}
}
