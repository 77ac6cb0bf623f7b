package conn

import (
	"bytes"
	"strconv"
)

// Head reads the number in the first line of a RESP value, and returns how long the line is.
func Head(b []byte) (n, line int) {
	line = bytes.IndexByte(b, '\n') + 1
	n, _ = strconv.Atoi(string(b[1 : line-2])) // what is no number counts nothing
	return n, line
}

// ValueLen is the length of the RESP value that b begins with. All of it must be there.
func ValueLen(b []byte) int {
	at := 0
	for left := 1; left > 0; left-- {
		kind := b[at]
		n, line := Head(b[at:])
		at += line
		switch {
		case bytes.IndexByte([]byte("$=!*>~%"), kind) < 0: // all is in the line
		case n < 0: // RESP2's null
		case kind == '$', kind == '=', kind == '!':
			at += n + 2
		case kind == '%':
			left += 2 * n
		default:
			left += n
		}
	}
	return at
}

// valueAt is where the value begins to which the byte at an offset belongs, and how long it is; 0 at the end of b.
func valueAt(b []byte, offset int) (at, n int) {
	for at < len(b) {
		n = ValueLen(b[at:])
		if at+n > offset {
			return at, n
		}
		at += n
	}
	return at, 0
}
