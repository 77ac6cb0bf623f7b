// Package nearest finds the word that somebody meant who mistyped it: a verb or an option of ipcctl, a command, a key of the
// configuration.
package nearest

// longest is the longest word that is looked at: the work is quadratic, and no name of ours is that long.
const longest = 64

// Index is the index of the first name that takes the fewest slips of the finger to become word, or -1 if all take more than one
// in three letters, and more than one altogether.
func Index(word string, names []string) int {
	if len(word) > longest {
		return -1
	}
	index, least := -1, max(len(word)/3, 1)+1
	for i, name := range names {
		if d := distance(word, name, least); d < least {
			index, least = i, d
		}
	}
	return index
}

// Word is that name itself, or "".
func Word(word string, names []string) string {
	if i := Index(word, names); i >= 0 {
		return names[i]
	}
	return ""
}

// distance counts the letters to insert, delete, replace, or swap with the next, to get from a to b (optimal string alignment),
// or is limit if they are that many or more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	// Rows of the table of distances between prefixes: of those of a that are two and one letters shorter, and of this one.
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return min(row[len(b)], limit)
}
