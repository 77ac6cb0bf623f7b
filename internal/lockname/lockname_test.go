package lockname

import (
	"strings"
	"testing"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc/wire"
)

func TestNamesOfLocks(t *testing.T) {
	for _, name := range []string{
		"a", "/run/x", "/var/lock/libstdc++.lock", "x/#", "+", "#", "100%", strings.Repeat("n", 200), strings.Repeat("+", 66), strings.Repeat("#", 66) + "ab",
	} {
		if err := Check(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		// What happens to it can be told, whatever that is.
		if err := bus.CheckTopic(wire.LockTopic(strings.Repeat("e", len("downgraded")), name)); err != nil {
			t.Errorf("%q has no topic: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"":                             "it is empty",
		"a\n":                          "control character",
		"\xff":                         "invalid UTF-8",
		strings.Repeat("n", 201):       "201 bytes, at most 200",
		strings.Repeat("+", 67):        "201 bytes, as %, + and # count three times; at most 200",
		strings.Repeat("n", 198) + "%": "201 bytes",
	} {
		if err := Check([]byte(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}
