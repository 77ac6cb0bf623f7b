package cli

import (
	"strings"

	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
)

// A lock's name is no file: /run/x.lock, ./x.lock and x.lock are three locks. Who converts scripts one after the other may have
// two that exclude each other no more. So who asks for words, by -v or why, gets one if there is another lock like that.

// mistakable names the other locks that are there and seem to be the same file as this one, as a sentence; "" if there are none.
func mistakable(name string, all []*lockView) string {
	var others []string
	for _, v := range all {
		if v.Name != name && base(v.Name) == base(name) && (isPath(v.Name) || isPath(name)) {
			others = append(others, v.Name)
		}
	}
	switch len(others) {
	case 0:
		return ""
	case 1:
		return printable.Name(others[0]) + " is another lock than " + printable.Name(name) + ": names are no files"
	}
	return printable.Names(others) + " are other locks than " + printable.Name(name) + ": names are no files"
}

// isPath reports whether a name looks like a file's path, and not only like levels.
func isPath(name string) bool {
	return strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../")
}

// base is what follows the last slash.
func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// sayMistakable warns of it with -v. If it cannot be found out, nothing is said.
func sayMistakable(c *verb.Call, names []string) {
	conn, err := c.DialNow()
	if err != nil {
		return
	}
	defer conn.Close()
	all, err := askLocks(conn, nil)
	if err != nil {
		return
	}
	for _, name := range names {
		if text := mistakable(name, all); text != "" {
			c.Say(text)
		}
	}
}
