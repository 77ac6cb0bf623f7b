package crash

import (
	"strings"
	"testing"
)

// What the harness is there to find is found, and what is allowed is not.
func TestHistory(t *testing.T) {
	wants := map[string]want{
		"1": {names: []string{"a"}, units: 1}, "2": {names: []string{"a"}, units: 1}, "3": {names: []string{"a"}, shared: true},
		"4": {names: []string{"a"}, shared: true}, "5": {names: []string{"a", "b"}, units: 1},
		"6": {names: []string{semaphore}, units: 2}, "7": {names: []string{semaphore}, units: 2}, "8": {names: []string{semaphore}, units: 1},
	}
	for _, c := range []struct{ name, lines, want string }{
		{"in turn", "in|1|11|||5 a;out|1|exited 0;in|2|12|exited 0||6 a", ""},
		{"readers", "in|3|11|||5 a;in|4|12|||6 a;out|3|exited 0;out|4|exited 0;in|1|13|exited 0||7 a", ""},
		{"a semaphore", "in|6|1|||5 sem;in|8|1|||6 sem;out|6|x;in|7|1|||7 sem", ""},
		{"a kill, and the restart of the daemon", "in|1|11|||5 a;kill|1;down;up;in|2|12|unknown||6 a", ""},
		{"two holders", "in|1|11|||5 a;in|2|12|||6 a", "an overlap"},
		{"a reader beside a writer", "in|1|11|||5 a;in|3|12|||6 a", "an overlap"},
		{"a writer beside a reader", "in|3|12|||5 a;in|1|11|||6 a", "an overlap"},
		{"one of a set", "in|5|12|||5 a 6 b;in|1|11|||7 a", "an overlap"},
		{"too many units", "in|6|1|||5 sem;in|7|1|||6 sem", "an overlap"},
		{"the same token", "in|1|11|||5 a;out|1|exited 0;in|2|12|exited 0||5 a", "tokens do not rise"},
		{"a lower token", "in|1|11|||5 a;out|1|exited 0;in|2|12|exited 0||4 a", "tokens do not rise"},
		{"a name that nobody asked for", "in|1|11|||5 b", "asked for"},
		{"a wrong end", "in|1|11|||5 a;kill|1;in|2|12|released||6 a", "ended so"},
		{"an end that is not known", "in|1|11|||5 a;kill|1;in|2|12|unknown||6 a", "ended so"},
		{"a stale mark", "in|1|11||pid 7: killed 9|5 a;out|1|exited 0;in|2|12|exited 0|pid 7: killed 9|6 a", "told of what"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHistory(wants, true)
			var err error
			for _, text := range strings.Split(c.lines, ";") {
				if err = h.step(strings.Split(text, "|")); err != nil {
					break
				}
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
