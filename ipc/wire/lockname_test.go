package wire

import (
	"strings"
	"testing"
)

func TestTopicsOfLocks(t *testing.T) {
	for name, want := range map[string]string{
		"backup":                     "ipcd/lock/acquired/backup",
		"/run/x.lock":                "ipcd/lock/acquired//run/x.lock",
		"/var/lock/libstdc++.lock":   "ipcd/lock/acquired//var/lock/libstdc%2B%2B.lock",
		"#1":                         "ipcd/lock/acquired/%231",
		"100%":                       "ipcd/lock/acquired/100%25",
		"a%2Bb":                      "ipcd/lock/acquired/a%252Bb",
		"ä/+":                        "ipcd/lock/acquired/ä/%2B",
		strings.Repeat("+", 3) + "/": "ipcd/lock/acquired/%2B%2B%2B/",
	} {
		topic := LockTopic("acquired", name)
		if topic != want {
			t.Errorf("%q: %q, want %q", name, topic, want)
		}
		if event, back, ok := ParseLockTopic(topic); event != "acquired" || back != name || !ok {
			t.Errorf("%q comes back as %q, %q, %v", topic, event, back, ok)
		}
	}
	for _, topic := range []string{"", "ipcd/lock/", "ipcd/lock/acquired", "ipcd/client/x", "a/ipcd/lock/acquired/x", "ipcd/lock/x/%", "ipcd/lock/x/%2", "ipcd/lock/x/%zz"} {
		if _, name, ok := ParseLockTopic(topic); ok {
			t.Errorf("%q is taken for a topic of %q", topic, name)
		}
	}
}
