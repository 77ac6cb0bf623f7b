package bus

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxTopic is the length in bytes of the longest topic and of the longest filter.
	MaxTopic = 255

	// ReservedPrefix begins the names that belong to the daemon. A filter that begins with a wildcard does not match
	// them, nor does a glob that does not spell the prefix out.
	ReservedPrefix = "ipcd/"

	// FilterPattern and EnvelopePattern begin patterns that are no globs: the rest is a filter, which the pattern matches what it
	// matches of. So who can say nothing but PSUBSCRIBE, and is told of his messages by the pattern, may have filters. The two
	// differ for who delivers; to the bus they are two texts. The names that they would be globs for are never published.
	FilterPattern = ReservedPrefix + "filter/"
	// EnvelopePattern is the other: see FilterPattern.
	EnvelopePattern = ReservedPrefix + "filter-json/"
	// GroupPattern begins patterns that mean no routes, but membership in a group: the rest is its label, a slash, and a filter.
	GroupPattern = ReservedPrefix + "group/"

	// reservedLevel is the first level of the reserved names.
	reservedLevel = "ipcd"
)

// filterForms are what begins patterns that are filters.
var filterForms = [...]string{plainForm: FilterPattern, envelopeForm: EnvelopePattern}

const (
	plainForm = iota
	envelopeForm
)

// IsFilter reports whether a pattern is a filter.
func IsFilter(pattern string) bool {
	_, _, ok := cutFilter(pattern)
	return ok
}

// cutFilter is the filter that a pattern is, and in which of the forms, if it is one.
func cutFilter(pattern string) (filter string, form int, ok bool) {
	for form, prefix := range filterForms {
		if filter, ok = strings.CutPrefix(pattern, prefix); ok {
			return filter, form, true
		}
	}
	return "", 0, false
}

// NameError says what is wrong with a name.
type NameError struct {
	What   string // what the name was to be: "topic", "filter", …
	Name   string // at most its first MaxTopic bytes
	At     int    // the offset of the first offending byte
	Reason string // in words
}

func (e *NameError) Error() string {
	name, cut := e.Name, ""
	if len(name) > 64 {
		name, cut = name[:64], "…"
	}
	return fmt.Sprintf("bad %s %q%s: %s", e.What, name, cut, e.Reason)
}

// CheckTopic reports, as a *NameError, why name cannot be a topic, or nil.
func CheckTopic[T ~string | ~[]byte](name T) error {
	return checkBytes("topic", name, MaxTopic, false)
}

// CheckName is CheckTopic for other names, which no filter is for, so that "+" and "#" mean nothing in them: those of locks. What is
// the word for them in the error, limit the length in bytes of the longest.
func CheckName[T ~string | ~[]byte](what string, name T, limit int) error {
	return checkBytes(what, name, limit, true)
}

// CheckFilter reports, as a *NameError, why filter cannot be a filter, or nil. Every topic is a filter, too.
func CheckFilter[T ~string | ~[]byte](filter T) error {
	if err := checkBytes("filter", filter, MaxTopic, true); err != nil {
		return err
	}
	for i := range len(filter) {
		c := filter[i]
		if c != '+' && c != '#' {
			continue
		}
		if i > 0 && filter[i-1] != '/' || i+1 < len(filter) && filter[i+1] != '/' {
			return badName("filter", filter, i, fmt.Sprintf("wildcard %q at byte %d is not a whole level", string(c), i))
		}
		if c == '#' && i+1 < len(filter) {
			return badName("filter", filter, i, fmt.Sprintf(`wildcard "#" at byte %d is not the last level`, i))
		}
	}
	return nil
}

// MaxGlob is how many elements a glob may have from the first that is not literal to the last: it takes time by them to be compared.
// What is before and behind them is compared at once, and may be of any length.
const MaxGlob = 255

// CheckPattern reports, as a *NameError, why a pattern cannot be one, or nil: a glob may be too complex, and what is no glob must be
// a filter.
func CheckPattern(pattern string) error {
	if filter, _, ok := cutFilter(pattern); ok {
		return CheckFilter(filter)
	}
	return CheckGlob(pattern)
}

// CheckGlob is CheckPattern for what is a glob however it begins.
func CheckGlob(pattern string) error {
	elements, run := 0, 0
	for e := range globElements(pattern) {
		switch {
		case !e.literal:
			elements += 1 + run
			run = 0
		case elements > 0:
			run++
		}
	}
	if elements > MaxGlob {
		return badName("pattern", pattern, 0, fmt.Sprintf("%d elements from the first wildcard to the last, at most %d", elements, MaxGlob))
	}
	return nil
}

// checkBytes checks the length, that the name is UTF-8 without control characters, and that there is no wildcard in it,
// unless wild.
func checkBytes[T ~string | ~[]byte](what string, name T, limit int, wild bool) error {
	f, at, r := findFlaw(name, limit, wild)
	if f == flawless {
		return nil
	}
	return badName(what, name, at, f.describe(len(name), limit, at, r))
}

// IsTopic reports whether a name is a topic, and so whether filters may match it. It costs less than CheckTopic where it is none.
func IsTopic[T ~string | ~[]byte](name T) bool {
	f, _, _ := findFlaw(name, MaxTopic, false)
	return f == flawless
}

// A flaw is what a name is no topic, or no filter, for.
type flaw uint8

const (
	flawless flaw = iota
	isEmpty
	isLong
	hasWildcard
	hasNoUTF8
	hasControl
)

func (f flaw) describe(length, limit, at int, r rune) string {
	switch f {
	case isEmpty:
		return "it is empty"
	case isLong:
		return fmt.Sprintf("%d bytes, at most %d", length, limit)
	case hasWildcard:
		return fmt.Sprintf("wildcard %q at byte %d stands only in a filter", string(r), at)
	case hasNoUTF8:
		return fmt.Sprintf("invalid UTF-8 at byte %d", at)
	}
	return fmt.Sprintf("control character %U at byte %d", r, at)
}

// findFlaw is the first flaw of a name, where it is, and which character it is.
func findFlaw[T ~string | ~[]byte](name T, limit int, wild bool) (f flaw, at int, r rune) {
	switch {
	case len(name) == 0:
		return isEmpty, 0, 0
	case len(name) > limit:
		return isLong, limit, 0
	}
	for i := 0; i < len(name); {
		c := name[i]
		if !wild && (c == '+' || c == '#') {
			return hasWildcard, i, rune(c)
		}
		if 0x20 <= c && c < 0x7f {
			i++
			continue
		}
		// Copied, because neither half of T alone can be handed to package utf8 without an allocation.
		var b [utf8.UTFMax]byte
		r, size := utf8.DecodeRune(b[:copy(b[:], name[i:])])
		switch {
		case r == utf8.RuneError && size == 1:
			return hasNoUTF8, i, 0
		case r < 0x20 || 0x7f <= r && r < 0xa0:
			return hasControl, i, r
		}
		i += size
	}
	return flawless, 0, 0
}

func badName[T ~string | ~[]byte](what string, name T, at int, reason string) error {
	return &NameError{What: what, Name: string(name[:min(len(name), MaxTopic)]), At: at, Reason: reason}
}

// Match reports whether the topic is one of those that the filter means. Both must be valid.
func Match[F, T ~string | ~[]byte](filter F, topic T) bool {
	if (filter[0] == '+' || filter[0] == '#') && isReserved(topic) {
		return false
	}
	f, t := 0, 0 // where the current level begins; beyond the topic's end once it has no more levels
	for {
		if f < len(filter) && filter[f] == '#' {
			return true // also as the level after the topic's last: the parent matches
		}
		if t > len(topic) {
			return false
		}
		if f < len(filter) && filter[f] == '+' {
			f++
			for t < len(topic) && topic[t] != '/' {
				t++
			}
		} else {
			for f < len(filter) && filter[f] != '/' {
				if t == len(topic) || topic[t] != filter[f] {
					return false
				}
				f++
				t++
			}
			if t < len(topic) && topic[t] != '/' {
				return false
			}
		}
		if f == len(filter) {
			return t == len(topic)
		}
		f++
		t++
	}
}

// isReserved reports whether a topic is the daemon's: the reserved level, or below it.
func isReserved[T ~string | ~[]byte](topic T) bool {
	const n = len(reservedLevel)
	return len(topic) >= n && string(topic[:n]) == reservedLevel && (len(topic) == n || topic[n] == '/')
}
