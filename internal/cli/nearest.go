package cli

// nearest is the name that takes the fewest slips of the finger to become word, or "" if none is like it.
func nearest(word string, names []string) string {
	best, least := "", max(len(word)/3, 1)+1
	if len(word) > 64 { // the work is quadratic, and no name is that long
		return ""
	}
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace, or swap with the next, to get from a to b.
func distance(a, b string) int {
	var before []int // the row of the prefix of a that is one shorter than above's
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
