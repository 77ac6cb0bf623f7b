package bus

import (
	"bytes"
	"cmp"
	"slices"
)

// heads holds patterns by their heads: the bytes before the first that is special. A topic has one head of each length,
// so a match looks up as many as there are lengths in use, instead of trying every pattern.
type heads struct {
	tails table[string, []tail]
	count [MaxTopic + 1]int32 // how many patterns have a head of that length
}

// tail is a pattern with a certain head.
type tail struct {
	ref
	glob *Glob // of all of it
}

func (h *heads) add(pattern string, glob *Glob, r ref) {
	n := globHead(pattern)
	if n > MaxTopic {
		return // longer than any topic
	}
	h.count[n]++
	head := pattern[:n]
	h.tails.set(head, append(h.tails.m[head], tail{r, glob}))
}

func (h *heads) remove(pattern string, r ref) {
	n := globHead(pattern)
	if n > MaxTopic {
		return
	}
	h.count[n]--
	head := pattern[:n]
	tails := h.tails.m[head]
	if len(tails) == 1 {
		h.tails.delete(head)
		return
	}
	// They are in order of age, because each new one was put at the end.
	i, _ := slices.BinarySearchFunc(tails, r.born, func(t tail, born uint64) int { return cmp.Compare(t.born, born) })
	h.tails.set(head, shrink(slices.Delete(tails, i, i+1)))
}

// match appends the patterns that match a topic.
func (h *heads) match(refs []ref, topic []byte) []ref {
	if len(h.tails.m) == 0 {
		return refs
	}
	first := 0
	if bytes.HasPrefix(topic, []byte(ReservedPrefix)) {
		first = len(ReservedPrefix) // the prefix must be part of the head
	}
	for n := first; n <= len(topic); n++ {
		if h.count[n] == 0 {
			continue
		}
		for _, t := range h.tails.m[string(topic[:n])] {
			if t.glob.Match(topic) {
				refs = append(refs, t.ref)
			}
		}
	}
	return refs
}
