package bus

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
)

// patternIndex has globs by their heads: the bytes before the first that is special, or as many of them as a topic may have. A name
// has one head of each length, so a match looks up as many as there are lengths in use, instead of trying every pattern.
type patternIndex struct {
	tails shrinkingMap[string, []tail]
	count [MaxTopic + 1]int32 // how many patterns have a head of that length
}

// ErrTooLong is why a name that is longer than topics are is not published: to compare it with all patterns would take too long, as
// there are very many, or it is very long.
var ErrTooLong = errors.New("the name is too long to be compared with all patterns")

// maxWork bounds how much a long name is compared with globs, in steps of an automaton, of one or two nanoseconds each. Topics are
// always compared: what that takes is bounded by the number of patterns.
const maxWork = 1 << 25

// tooMuch reports whether a long name cannot be compared with all patterns.
func (x *patternIndex) tooMuch(name []byte) bool {
	work := 0
	for n := firstHead(name); n <= MaxTopic; n++ {
		if x.count[n] == 0 {
			continue
		}
		for _, t := range find(&x.tails, name[:n]) {
			if work += t.glob.work(name); work > maxWork {
				return true
			}
		}
	}
	return false
}

// firstHead is the length of the shortest head that a pattern may have which matches a name.
func firstHead(name []byte) int {
	if bytes.HasPrefix(name, []byte(ReservedPrefix)) {
		return len(ReservedPrefix) // the prefix must be part of the head
	}
	return 0
}

// tail is a pattern with a certain head.
type tail struct {
	ref
	glob *Glob // of all of it
}

// indexHead is what of a pattern is looked up.
func indexHead(pattern string) string { return pattern[:min(globHead(pattern), MaxTopic)] }

func (x *patternIndex) add(pattern string, glob *Glob, r ref) {
	head := indexHead(pattern)
	x.count[len(head)]++
	x.tails.set(head, append(x.tails.get(head), tail{r, glob}))
}

func (x *patternIndex) remove(pattern string, r ref) {
	head := indexHead(pattern)
	x.count[len(head)]--
	tails := x.tails.get(head)
	if len(tails) == 1 {
		x.tails.delete(head)
		return
	}
	// They are in order of age, because each new one was put at the end.
	i, _ := slices.BinarySearchFunc(tails, r.born, func(t tail, born uint64) int { return cmp.Compare(t.born, born) })
	x.tails.set(head, shrink(slices.Delete(tails, i, i+1)))
}
