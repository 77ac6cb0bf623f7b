package bus

import (
	"fmt"
	"unicode/utf8"
)

const (
	// MaxTopic is the length in bytes of the longest topic and of the longest filter.
	MaxTopic = 255

	// ReservedPrefix begins the names that belong to the daemon. A filter that begins with a wildcard does not match
	// them, nor does a glob that does not spell the prefix out.
	ReservedPrefix = "ipcd/"

	// reservedLevel is the first level of the reserved names.
	reservedLevel = "ipcd"
)

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

// checkBytes checks the length, that the name is UTF-8 without control characters, and that there is no wildcard in it,
// unless wild.
func checkBytes[T ~string | ~[]byte](what string, name T, limit int, wild bool) error {
	switch {
	case len(name) == 0:
		return badName(what, name, 0, "it is empty")
	case len(name) > limit:
		return badName(what, name, limit, fmt.Sprintf("%d bytes, at most %d", len(name), limit))
	}
	for i := 0; i < len(name); {
		c := name[i]
		if !wild && (c == '+' || c == '#') {
			return badName(what, name, i, fmt.Sprintf("wildcard %q at byte %d stands only in a filter", string(c), i))
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
			return badName(what, name, i, fmt.Sprintf("invalid UTF-8 at byte %d", i))
		case r < 0x20 || 0x7f <= r && r < 0xa0:
			return badName(what, name, i, fmt.Sprintf("control character %U at byte %d", r, i))
		}
		i += size
	}
	return nil
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
