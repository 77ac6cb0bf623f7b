package conn

import (
	"strings"
	"testing"
)

// TestValueLen: every value that there is in RESP has an end.
func TestValueLen(t *testing.T) {
	texts := []string{
		"+OK\r\n", "-ERR x\r\n", ":1\r\n", ":-1\r\n", "$0\r\n\r\n", "$-1\r\n", "_\r\n", "$4\r\n\r\n$1\r\n", "*0\r\n", "*-1\r\n", "%0\r\n",
		"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", "~1\r\n#t\r\n", ">1\r\n,1.5\r\n", "=5\r\ntxt:a\r\n",
	}
	all := strings.Join(texts, "")
	at := 0
	for _, text := range texts {
		if got := ValueLen([]byte(all[at:])); got != len(text) {
			t.Errorf("%q: %d bytes, want %d", text, got, len(text))
		}
		for offset := at; offset < at+len(text); offset++ {
			if got, n := valueAt([]byte(all), offset); got != at || n != len(text) {
				t.Errorf("byte %d is of the value at %d of %d bytes, want %d of %d", offset, got, n, at, len(text))
			}
		}
		at += len(text)
	}
}
