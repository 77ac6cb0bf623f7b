package wire

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// What the commands about locks may say at most. Programs need not check it: the daemon does, and its error names the limit.
const (
	MaxLockName = 200       // bytes of a lock's name; then the topics of its events are no longer than topics are
	MaxLockText = 256       // bytes of WHY and of OWNER
	MaxUnits    = 1_000_000 // units of a lock: LIMIT and UNITS
	MaxSet      = 32        // locks that are asked for at once: the name and those of AND
	MaxShown    = 64        // holds that are shown: WITH
)

// What a message may say of itself at most.
const (
	MaxHeaders     = 32   // headers
	MaxHeaderName  = 64   // bytes of a header's name
	MaxHeaderBytes = 4096 // bytes of all their names and values together

	MaxFileRead    = 1 << 20 // bytes of a sealed file that those get who do not take files
	MaxDescriptors = 8       // sent with commands that are not executed yet
)

// What the file beside a message is said to be: see BUS.PUB with FD.
const (
	FileSealed = "sealed" // nobody can change it any more
	FileOpen   = "open"   // it is what its publisher has opened, as it is
)

// MaxErrorText is how many bytes the text of an error has at most. An error is one line, and a [Decoder] takes no line of 16 KiB.
const MaxErrorText = 8 << 10

// IsHeaderName reports whether a header may have a name: 1 to MaxHeaderName of a to z, 0 to 9 and "-", of which the first is a letter. So a
// name is one in JSON, in a shell's variables and in HTTP, too.
func IsHeaderName[T ~string | ~[]byte](name T) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '-'):
		default:
			return false
		}
	}
	return 0 < len(name) && len(name) <= MaxHeaderName
}

// IsText reports whether a text is UTF-8 without control characters: what people may be shown.
func IsText(text []byte) bool {
	return utf8.Valid(text) && !bytes.ContainsFunc(text, unicode.IsControl)
}

// MaxAnswer is how many bytes the answer to a request may have, in all its parts; of several answers, all together.
const MaxAnswer = 8 << 20
