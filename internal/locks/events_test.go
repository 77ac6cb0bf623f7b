package locks

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONText(t *testing.T) {
	for _, text := range []string{"", "plain", `"\/`, "a\x00b\x1f\x7f\n\t", "ü€𝄞", "\u2028", "bad \xff\xc3 utf-8", strings.Repeat("x", 300)} {
		b := jsonText([]byte("{"), "k", text)
		b[len(b)-1] = '}'
		var got map[string]string
		if err := json.Unmarshal(b, &got); err != nil || got["k"] != string([]rune(text)) {
			t.Errorf("%q: %s: %q, %v", text, b, got["k"], err)
		}
	}
}
