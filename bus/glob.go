package bus

// Glob reports whether a pattern matches the whole of s, as Redis's PSUBSCRIBE, PUBSUB CHANNELS and KEYS do it, byte by
// byte:
//
//   - any bytes, also none, and also "/"
//     ?      any one byte
//     [ab]   one of these bytes; [a-z] a range, whichever end comes first; [^ab] any other byte
//     \x     the byte x, in brackets, too
//
// Every pattern has a meaning. A bracket that is not closed reaches to the end of the pattern; "[]" matches nothing,
// "[^]" any byte; in "[a-]" the bracket is the range's end, and so closes nothing; a backslash at the very end stands for
// itself. No pattern but the empty one matches the empty string, not even "*".
//
// Two things of Redis are left out. The ends of a range are unsigned bytes everywhere (Redis takes the sign of the
// machine's char, so there [a-é] means different things on x86 and ARM). And Redis finds no match once more than 1,000
// separate stars are in use, which takes a string of more than 1,000 bytes.
//
// The time is bounded by len(pattern) × len(s), however many stars there are, and nothing is allocated.
func Glob[P, T ~string | ~[]byte](pattern P, s T) bool {
	if len(s) == 0 {
		return len(pattern) == 0
	}
	return globRest(pattern, s)
}

// globRest is Glob for what is left of a pattern and a string after a common beginning: "*" matches nothing at all, too.
//
// Each element between two stars takes exactly one byte, so it is enough to remember the last star: if what follows it
// does not fit at one place, it is tried one byte further on, and an earlier star never needs to take more.
func globRest[P, T ~string | ~[]byte](pattern P, s T) bool {
	p, i := 0, 0
	star, from := -1, 0 // the pattern after the last star, and where in s that was tried last
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; c {
			case '*':
				for p < len(pattern) && pattern[p] == '*' {
					p++
				}
				if p == len(pattern) {
					return true
				}
				star, from = p, i
				continue
			case '?':
				p++
				i++
				continue
			case '[':
				if next, ok := globClass(pattern, p+1, s[i]); ok {
					p = next
					i++
					continue
				}
			default:
				at := p
				if c == '\\' && p+1 < len(pattern) {
					at++
				}
				if pattern[at] == s[i] {
					p = at + 1
					i++
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, i = star, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// globClass matches one byte with a class, whose bracket has been read, and returns where the next element begins.
func globClass[P ~string | ~[]byte](pattern P, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	in := false
	for p < len(pattern) && pattern[p] != ']' {
		lo, hi := pattern[p], pattern[p]
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			lo, hi = pattern[p+1], pattern[p+1]
			p++
		case p+2 < len(pattern) && pattern[p+1] == '-':
			lo, hi = min(pattern[p], pattern[p+2]), max(pattern[p], pattern[p+2])
			p += 2
		}
		in = in || lo <= c && c <= hi
		p++
	}
	return min(p+1, len(pattern)), in != not
}

// globHead is how many bytes at the beginning of a pattern stand for themselves.
func globHead(pattern string) int {
	for i := range len(pattern) {
		switch pattern[i] {
		case '*', '?', '[', '\\':
			return i
		}
	}
	return len(pattern)
}
