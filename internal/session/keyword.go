package session

import (
	"strings"
	"unicode"

	"github.com/ipcd/ipcd/ipc/wire"
)

// keywords are the words that the arguments of commands have in the command table, in upper case, each found by itself. Some stand for a
// value there, and no command asks for these. So there is one text of each keyword, and it takes no memory to read one.
var keywords = func() map[string]string {
	all := map[string]string{}
	between := func(r rune) bool { return r != '-' && !unicode.IsLetter(r) }
	for i := range wire.Commands {
		for word := range strings.FieldsFuncSeq(strings.ToUpper(wire.Commands[i].Args), between) {
			all[word] = word
		}
	}
	return all
}()

// longestKeyword is more than any has.
const longestKeyword = 32

// Keyword is the keyword that a word is, in upper case; "" if the command table has none like that.
func Keyword(word []byte) string {
	if len(word) > longestKeyword {
		return ""
	}
	if known := keywords[string(word)]; known != "" { // as it mostly is
		return known
	}
	var upper [longestKeyword]byte
	for i, b := range word {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper[i] = b
	}
	return keywords[string(upper[:len(word)])]
}

// Keyword is the keyword that argument i is, likewise.
func (c *Call) Keyword(i int) string { return Keyword(c.Args[i]) }
