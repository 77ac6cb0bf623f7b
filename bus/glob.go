package bus

import (
	"iter"
	"math/bits"
	"slices"
)

// A Glob is a pattern that is ready to be matched with the whole of a string, as Redis's PSUBSCRIBE, PUBSUB CHANNELS and
// KEYS do it, byte by byte:
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
// A match takes one step for each byte of the string, and a step works on 64 elements of the pattern at once: nothing
// that a pattern or a string holds makes it take longer. Nothing is allocated, unless the pattern has more than MaxGlob elements.
type Glob struct {
	head, tail string // what stands for itself at the beginning, and at the end behind something that does not
	least      int    // the length of the shortest string that matches; -1: none does, or only the empty one
	open       bool   // what is between is a star and nothing else
	middle     *automaton
}

// An automaton matches elements that each take one byte, with stars between them. Bit i of its state says that the bytes
// up to here fit the first i elements.
type automaton struct {
	row   [256]uint8 // by byte: which of the rows
	rows  []uint64   // words at a time: bit i, if element i takes the byte
	loops []uint64   // bit i: a star stands before element i, so any byte may come
	end   int        // the number of elements: the bit that says that all fit
}

// A byteSet is a set of bytes: what one element takes.
type byteSet [4]uint64

func (b *byteSet) add(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		b[c>>6] |= 1 << (c & 63)
	}
}

func (b *byteSet) invert() {
	for i := range b {
		b[i] = ^b[i]
	}
}

func (b *byteSet) len() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b *byteSet) all() iter.Seq[byte] {
	return func(yield func(byte) bool) {
		for i, w := range b {
			for ; w != 0; w &= w - 1 {
				if !yield(byte(i*64 + bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

func (b *byteSet) has(c byte) bool { return b[c>>6]>>(c&63)&1 != 0 }

// A globElement is one part of a pattern.
type globElement struct {
	star    bool // any bytes, and any number of them; else one byte:
	literal bool // this one
	c       byte
	set     byteSet // or one of these
}

// CompileGlob makes a pattern ready. For one of 255 elements that takes at most 40 µs or so, and 9 KB of memory.
func CompileGlob(pattern string) *Glob {
	g := new(Glob)
	if pattern == "" {
		g.least = -1
		return g
	}
	n := globHead(pattern)
	head, tail := []byte(pattern[:n]), []byte(nil)
	var middle []globElement
	g.least = n
	for e := range globElements(pattern[n:]) {
		if !e.star {
			g.least++
		}
		switch {
		case e.literal:
			tail = append(tail, e.c)
			continue
		case middle == nil:
			head = append(head, tail...)
		default:
			for _, c := range tail {
				middle = append(middle, globElement{literal: true, c: c})
			}
		}
		tail = tail[:0]
		middle = append(middle, e)
	}
	if middle == nil {
		head, tail = append(head, tail...), nil
	}
	g.head, g.tail = string(head), string(tail)
	g.least = max(g.least, 1)
	switch {
	case len(middle) == 1 && middle[0].star:
		g.open = true
	case len(middle) > 0:
		g.middle = newAutomaton(middle)
	}
	return g
}

// globElements are the elements of a pattern. Of several stars in a row there is one.
func globElements(pattern string) iter.Seq[globElement] {
	return func(yield func(globElement) bool) {
		star := false // the last one was
		for p := 0; p < len(pattern); p++ {
			e := globElement{}
			switch c := pattern[p]; {
			case c == '*':
				if star {
					continue
				}
				e.star = true
			case c == '?':
				e.set.invert()
			case c == '[':
				p = parseClass(&e.set, pattern, p+1)
			case c == '\\' && p+1 < len(pattern):
				p++
				e.literal, e.c = true, pattern[p]
			default:
				e.literal, e.c = true, c
			}
			star = e.star
			if !yield(e) {
				return
			}
		}
	}
}

// parseClass reads a class, whose bracket has been read, and returns where it ends.
func parseClass(set *byteSet, pattern string, p int) (end int) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			p++
			set.add(pattern[p], pattern[p])
		case p+2 < len(pattern) && pattern[p+1] == '-':
			set.add(min(pattern[p], pattern[p+2]), max(pattern[p], pattern[p+2]))
			p += 2
		default:
			set.add(pattern[p], pattern[p])
		}
	}
	if not {
		set.invert()
	}
	return p
}

func newAutomaton(elements []globElement) *automaton {
	a := new(automaton)
	for _, e := range elements {
		if !e.star {
			a.end++
		}
	}
	words := a.end/64 + 1
	a.loops = make([]uint64, words)
	var takes [256][]uint64
	every := make([]uint64, 256*words)
	for c := range takes {
		takes[c] = every[c*words : (c+1)*words]
	}
	most := make([]uint64, words) // bit i: element i takes most bytes, and takes says which it does not
	var own byteSet               // the bytes that some element takes and no other byte
	i := 0
	for _, e := range elements {
		word, bit := i/64, uint64(1)<<(i%64)
		switch {
		case e.star:
			a.loops[word] |= bit
			continue
		case e.literal:
			takes[e.c][word] |= bit
			own.add(e.c, e.c)
		default:
			if e.set.len() > 128 {
				most[word] |= bit
				e.set.invert()
			}
			for c := range e.set.all() {
				takes[c][word] |= bit
			}
		}
		i++
	}
	// Most bytes are taken by the same elements, and mostly those that the byte before is taken by.
	for c := range takes {
		row := len(a.rows) / words
		switch {
		case own.has(byte(c)):
		case c > 0 && slices.Equal(takes[c-1], takes[c]):
			row = int(a.row[c-1])
		default:
			for row = 0; row*words < len(a.rows) && !slices.Equal(a.rows[row*words:(row+1)*words], takes[c]); row++ {
			}
		}
		if row*words == len(a.rows) {
			a.rows = append(a.rows, takes[c]...)
		}
		a.row[c] = uint8(row)
	}
	for i := range a.rows {
		a.rows[i] ^= most[i%words]
	}
	a.rows = slices.Clip(a.rows)
	return a
}

// Match reports whether the glob matches the whole of s.
func (g *Glob) Match(s []byte) bool { return matchGlob(g, s) }

// MatchString is Match for a string.
func (g *Glob) MatchString(s string) bool { return matchGlob(g, s) }

func matchGlob[T ~string | ~[]byte](g *Glob, s T) bool {
	s, is, decided := beginGlob(g, s)
	switch {
	case decided:
		return is
	case g.middle.end < 64:
		return matchShort(g.middle, s)
	}
	return matchLong(g.middle, s)
}

// beginGlob compares what can be compared at once. If that does not decide it, rest is what the automaton has to be asked about.
func beginGlob[T ~string | ~[]byte](g *Glob, s T) (rest T, is, decided bool) {
	switch {
	case g.least < 0:
		return s, len(s) == 0, true
	case len(s) < g.least || string(s[:len(g.head)]) != g.head || string(s[len(s)-len(g.tail):]) != g.tail:
		return s, false, true
	}
	s = s[len(g.head) : len(s)-len(g.tail)]
	switch {
	case g.open:
		return s, true, true
	case g.middle == nil:
		return s, len(s) == 0, true
	}
	return s, false, false
}

// mayMatch is Match, but that it may say yes in error, of what it would take long to find out.
func (g *Glob) mayMatch(s []byte) bool {
	if len(s) <= MaxTopic {
		return g.Match(s)
	}
	_, is, decided := beginGlob(g, s)
	return is || !decided
}

// work is how many steps a comparison takes, of one or two nanoseconds each.
func (g *Glob) work(s []byte) int {
	rest, _, decided := beginGlob(g, s)
	if decided {
		return 0
	}
	return len(rest) * len(g.middle.loops)
}

// A Scan is a comparison of a glob with one string that is made bit by bit, for who has no time to compare a long one at once.
type Scan struct {
	glob  *Glob
	state []uint64
	at    int // so much of what the automaton is asked about was compared
}

// Scan begins to compare.
func (g *Glob) Scan() *Scan { return &Scan{glob: g} }

// scanStep is how many steps of an automaton are made at once.
const scanStep = 1024

// Next compares something more of the string, in two microseconds at most, and reports whether the comparison is done, and how it
// ended. It must be given the same string each time.
func (x *Scan) Next(s string) (matches, done bool) { return scanGlob(x, s) }

func scanGlob[T ~string | ~[]byte](x *Scan, s T) (matches, done bool) {
	g := x.glob
	if x.state == nil {
		if _, is, decided := beginGlob(g, s); decided {
			return is, true
		}
		x.state = make([]uint64, len(g.middle.loops))
		x.state[0] = 1
	}
	rest := s[len(g.head)+x.at : len(s)-len(g.tail)]
	n := min(max(scanStep/len(x.state), 1), len(rest))
	over := advanceGlob(g.middle, x.state, rest[:n])
	x.at += n
	if !over && n < len(rest) {
		return false, false
	}
	return g.middle.accepts(x.state), true
}

// matchShort is for an automaton whose state is one word.
func matchShort[T ~string | ~[]byte](a *automaton, s T) bool {
	rows, loops := a.rows, a.loops[0]
	end := uint64(1) << a.end
	sure := loops & end // a star is last, so nothing more is to be looked at
	state := uint64(1)
	for i := range len(s) {
		state = state&rows[a.row[s[i]]]<<1 | state&loops
		if state == 0 || state&sure != 0 {
			break
		}
	}
	return state&end != 0
}

// matchLong is matchShort for more words.
func matchLong[T ~string | ~[]byte](a *automaton, s T) bool {
	words := len(a.loops)
	var buf [MaxGlob/64 + 1]uint64
	state := buf[:]
	if words > len(buf) {
		state = make([]uint64, words)
	}
	state = state[:words]
	state[0] = 1
	advanceGlob(a, state, s)
	return a.accepts(state)
}

// accepts reports whether all elements fit what the automaton has seen.
func (a *automaton) accepts(state []uint64) bool { return state[len(state)-1]>>(a.end%64)&1 != 0 }

// advanceGlob shows an automaton more bytes, and reports that the rest makes no difference.
func advanceGlob[T ~string | ~[]byte](a *automaton, state []uint64, s T) (over bool) {
	words := len(a.loops)
	last, end := words-1, uint64(1)<<(a.end%64)
	sure := a.loops[last] & end
	for i := range len(s) {
		row := int(a.row[s[i]]) * words
		takes := a.rows[row : row+words]
		var carry, alive uint64
		for w, is := range state {
			next := is & takes[w]
			state[w] = next<<1 | carry | is&a.loops[w]
			carry = next >> 63
			alive |= state[w]
		}
		if alive == 0 || state[last]&sure != 0 {
			return true
		}
	}
	return false
}

// globHead is how many bytes at the beginning of a pattern stand for themselves, as they are written.
func globHead(pattern string) int {
	for i := range len(pattern) {
		switch pattern[i] {
		case '*', '?', '[', '\\':
			return i
		}
	}
	return len(pattern)
}
