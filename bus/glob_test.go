package bus

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestGlob compares with what Redis 7.0.15 answered. A line is a pattern, a string and "yes" or "no".
func TestGlob(t *testing.T) {
	data, err := os.ReadFile("testdata/glob.answers")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "//") {
			continue
		}
		var pattern, s, want string
		if _, err := fmt.Sscanf(line, "%q %q %s", &pattern, &s, &want); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		n++
		if got := CompileGlob(pattern).MatchString(s); got != (want == "yes") {
			t.Errorf("%q, %q: got %v, Redis says %s", pattern, s, got, want)
		}
		if got := naiveGlob(pattern, s); got != (want == "yes") {
			t.Errorf("naiveGlob(%q, %q) = %v, Redis says %s", pattern, s, got, want)
		}
	}
	if n < 100 {
		t.Errorf("only %d cases", n)
	}
}

// TestGlobUnsigned: the one difference.
func TestGlobUnsigned(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"[a-\xff]", "b", true},
		{"[a-\xff]", "\x80", true},
		{"[\xff-a]", "b", true},
		{"[a-\xff]", "A", false},
		{"[\x80-\xff]", "\xc3", true},
	} {
		if got := CompileGlob(tt.pattern).MatchString(tt.s); got != tt.want {
			t.Errorf("%q, %q: got %v", tt.pattern, tt.s, got)
		}
	}
}

// TestGlobStars would not end, if each star doubled the time.
func TestGlobStars(t *testing.T) {
	s := strings.Repeat("a", 2*MaxTopic)
	for _, element := range []string{"a", "?", "[a-z]", "\\a"} {
		pattern := strings.Repeat(element+"*", 2*MaxTopic)
		if !CompileGlob(pattern).MatchString(s) {
			t.Errorf("%q… does not match", pattern[:10])
		}
		if CompileGlob(pattern+"b").MatchString(s) || CompileGlob(pattern+element).MatchString(s) {
			t.Errorf("%q… matches", pattern[:10])
		}
	}
}

func TestPatternsAndReservedNames(t *testing.T) {
	for _, tt := range []struct {
		pattern, topic string
		want           bool
	}{
		{"*", "ipcd/lock", false},
		{"*", "ipcd", true},
		{"ipcd*", "ipcd", true},
		{"ipcd*", "ipcd/lock", false},
		{"ipcd?*", "ipcd/lock", false},
		{"[i]pcd/*", "ipcd/lock", false},
		{`\ipcd/*`, "ipcd/lock", false},
		{"ipcd/*", "ipcd/lock", true},
		{"ipcd/l?ck", "ipcd/lock", true},
		{"ipcd/lock", "ipcd/lock", true},
		{"*", "ipcdx/lock", true},
		{"*", "/ipcd/lock", true},
		{"", "a", false},
		{strings.Repeat("x", 256) + "*", strings.Repeat("x", 255), false},
		{strings.Repeat("x", 255) + "*", strings.Repeat("x", 255), true},
	} {
		b := New[int]()
		subscribe(t, b, 1, Pattern, tt.pattern)
		if _, routes, err := b.Publish([]byte(tt.topic)); err != nil || (len(routes) == 1) != tt.want {
			t.Errorf("pattern %q: Publish(%q) = %v, %v", tt.pattern, tt.topic, routes, err)
		}
		b.Drop(1)
		assertEmpty(t, b)
	}
}
