package nearest

import (
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	names := []string{"lock", "locks", "pub", "sub", "release", "version"}
	for word, want := range map[string]string{
		"lokc": "lock", "lock": "lock", "relase": "release", "vesrion": "version", "pbu": "pub", "x": "", "unlock": "lock", "": "",
		strings.Repeat("lock", 50): "",
	} {
		if got := Word(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ab", 0}, {"ab", "ba", 1}, {"abc", "ca", 3}, {"abcd", "acbd", 1},
		{"abc", "abcd", 1}, {"abcd", "abc", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}, {"ab", "abxxx", 3},
	} {
		for _, limit := range []int{1, 2, 3, 4, 9} {
			if got := distance(c.a, c.b, limit); got != min(c.want, limit) {
				t.Errorf("%q to %q, limit %d: %d, want %d", c.a, c.b, limit, got, min(c.want, limit))
			}
		}
	}
}
