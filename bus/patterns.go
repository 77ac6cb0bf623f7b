package bus

import (
	"cmp"
	"slices"
)

// patternIndex has patterns by their heads: the bytes before the first that is special. A topic has one head of each length,
// so a match looks up as many as there are lengths in use, instead of trying every pattern.
type patternIndex struct {
	tails shrinkingMap[string, []tail]
	count [MaxTopic + 1]int32 // how many patterns have a head of that length
}

// tail is a pattern with a certain head.
type tail struct {
	ref
	glob *Glob // of all of it
}

func (x *patternIndex) add(pattern string, glob *Glob, r ref) {
	n := globHead(pattern)
	if n > MaxTopic {
		return // longer than any topic
	}
	x.count[n]++
	head := pattern[:n]
	x.tails.set(head, append(x.tails.get(head), tail{r, glob}))
}

func (x *patternIndex) remove(pattern string, r ref) {
	n := globHead(pattern)
	if n > MaxTopic {
		return
	}
	x.count[n]--
	head := pattern[:n]
	tails := x.tails.get(head)
	if len(tails) == 1 {
		x.tails.delete(head)
		return
	}
	// They are in order of age, because each new one was put at the end.
	i, _ := slices.BinarySearchFunc(tails, r.born, func(t tail, born uint64) int { return cmp.Compare(t.born, born) })
	x.tails.set(head, shrink(slices.Delete(tails, i, i+1)))
}
