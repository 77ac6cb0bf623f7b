package config

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// suggest returns what the user may have meant by a key that does not exist, or "": the name of a neighbour if one is
// similar, otherwise the whole of a key that has a similar name in another table.
func suggest(key toml.Key) string {
	parent, name := key[:len(key)-1].String(), key[len(key)-1]
	if len(key) == 3 && key[0] == "socket" { // All have the same keys.
		parent = "socket.main"
	}
	var neighbours, names, wholes []string
	if parent == "" {
		neighbours = topLevel
	}
	for _, t := range Default().tables() {
		for _, k := range t.keys {
			names, wholes = append(names, k.name), append(wholes, t.name+"."+k.name)
			if t.name == parent {
				neighbours = append(neighbours, k.name)
			}
		}
	}
	if i := nearest(name, neighbours); i >= 0 {
		return neighbours[i]
	}
	if i := nearest(name, names); i >= 0 {
		return wholes[i]
	}
	return ""
}

// nearest returns the index of the first name that takes the fewest slips of the finger to become s, or -1 if all take
// more than one in three characters.
func nearest(s string, names []string) int {
	best, index := max(1, len(s)/3)+1, -1
	if len(s) > 64 { // No name of ours is that long, and the work is quadratic.
		return index
	}
	s = fold(s)
	for i, name := range names {
		if d := distance(s, fold(name)); d < best {
			best, index = d, i
		}
	}
	return index
}

// fold removes differences that are a matter of taste.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// distance counts the characters to insert, delete, replace, or swap with the next one, to get from a to b.
func distance(a, b string) int {
	var before []int // The row of the prefix of a that is one shorter than above's.
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replace := above[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
