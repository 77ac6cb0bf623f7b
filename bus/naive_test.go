package bus

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The matchers here say what Match and Glob must say, as plainly as possible, and share nothing with them.

func naiveTopic(name string) bool {
	return utf8.ValidString(name) && name != "" && len(name) <= 255 && !strings.ContainsFunc(name, unicode.IsControl) && !strings.ContainsAny(name, "+#")
}

func naiveMatch(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if (f[0] == "+" || f[0] == "#") && t[0] == "ipcd" {
		return false
	}
	return naiveLevels(f, t)
}

func naiveLevels(f, t []string) bool {
	switch {
	case len(f) == 0:
		return len(t) == 0
	case f[0] == "#":
		return true
	case len(t) == 0:
		return false
	}
	return (f[0] == "+" || f[0] == t[0]) && naiveLevels(f[1:], t[1:])
}

// naiveGlob reports whether a glob matches.
func naiveGlob(pattern, s string) bool { return naiveWay(naiveElements(pattern), s) }

// naiveWay follows all ways through the elements of a glob at once, as long as there is one.
func naiveWay(elements []*naiveElement, s string) bool {
	if s == "" {
		return len(elements) == 0
	}
	at, next := make([]bool, len(elements)+1), make([]bool, len(elements)+1) // the elements that may come next
	at[0] = true
	for i := 0; ; i++ {
		for e, el := range elements {
			if at[e] && el.star {
				at[e+1] = true
			}
		}
		if i == len(s) || !slices.Contains(at, true) {
			return at[len(elements)]
		}
		clear(next)
		for e, el := range elements {
			if at[e] && el.star {
				next[e] = true
			} else if at[e] && el.bytes[s[i]] {
				next[e+1] = true
			}
		}
		at, next = next, at
	}
}

type naiveElement struct {
	star  bool
	bytes [256]bool
}

func naiveElements(pattern string) []*naiveElement {
	var elements []*naiveElement
	for pattern != "" {
		el := new(naiveElement)
		c := pattern[0]
		pattern = pattern[1:]
		switch {
		case c == '*':
			el.star = true
		case c == '?':
			for b := range el.bytes {
				el.bytes[b] = true
			}
		case c == '[':
			var negated bool
			pattern, negated = strings.CutPrefix(pattern, "^")
			for pattern != "" {
				c := pattern[0]
				pattern = pattern[1:]
				if c == ']' {
					break
				}
				if c == '\\' && pattern != "" {
					el.bytes[pattern[0]] = true
					pattern = pattern[1:]
				} else if len(pattern) >= 2 && pattern[0] == '-' {
					ends := []byte{c, pattern[1]}
					slices.Sort(ends)
					for b := int(ends[0]); b <= int(ends[1]); b++ {
						el.bytes[b] = true
					}
					pattern = pattern[2:]
				} else {
					el.bytes[c] = true
				}
			}
			for b := range el.bytes {
				el.bytes[b] = el.bytes[b] != negated
			}
		case c == '\\' && pattern != "":
			el.bytes[pattern[0]] = true
			pattern = pattern[1:]
		default:
			el.bytes[c] = true
		}
		elements = append(elements, el)
	}
	return elements
}
