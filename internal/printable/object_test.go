package printable

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	for _, text := range []string{"", "plain", `"\/`, "a\x00b\x1f\x7f\n\t", "ü€𝄞", "\u2028", "bad \xff\xc3 utf-8", strings.Repeat("x", 300)} {
		b := BeginObject([]byte("before"))
		b = AppendTextField(b, "k", text)
		b = AppendIntField(b, "n", -1<<53)
		b = EndObject(b)
		var got map[string]any
		err := json.Unmarshal(b[len("before"):], &got)
		if want := map[string]any{"k": string([]rune(text)), "n": float64(-1 << 53)}; err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %s: %v, %v", text, b, got, err)
		}
	}
}
