package config

import (
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/ipcd/ipcd/internal/nearest"
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
	if i := find(name, neighbours); i >= 0 {
		return neighbours[i]
	}
	if i := find(name, names); i >= 0 {
		return wholes[i]
	}
	return ""
}

// find returns the index of the name that is nearest to s, or -1.
func find(s string, names []string) int {
	folded := make([]string, len(names))
	for i, name := range names {
		folded[i] = fold(name)
	}
	return nearest.Index(fold(s), folded)
}

// fold removes differences that are a matter of taste.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
