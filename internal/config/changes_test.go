package config

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestChanges(t *testing.T) {
	before, after := Default(), Default()
	if got := Changes(before, after); got != nil {
		t.Errorf("between equals: %v", got)
	}
	before.Files = []File{{Path: "which files they come from does not matter"}}
	before.Sockets["old"] = &Socket{Path: "/run/old.sock"}
	after.Sockets["new"] = &Socket{Path: "/run/new.sock"}
	after.Sockets["main"].Path = "/run/other.sock"
	after.Sockets["main"].Mode = 0o600
	after.Sockets["main"].Group = "wheel"
	after.Limits.Output = 12345678
	after.Loop.BusyPoll = 0
	before.Loop.BusyPoll = 1500 * time.Microsecond
	after.Limits.Lease = 90 * time.Minute
	before.Semaphores = map[string]int{"gone": 2, "more": 3, "same": 4}
	after.Semaphores = map[string]int{"a/new": 5, "more": 30, "same": 4}
	var got []string
	for _, c := range Changes(before, after) {
		got = append(got, fmt.Sprint(c))
	}
	want := []string{
		`socket.main.path changed from "/run/ipcd/ipcd.sock" to "/run/other.sock": takes effect at the next start`,
		`socket.main.mode changed from "0660" to "0600": takes effect at the next start`,
		`socket.main.group changed from "" to "wheel": takes effect at the next start`,
		`socket.old removed: takes effect at the next start`,
		`limits.output changed from "8MiB" to 12345678`,
		`limits.lease changed from "24h" to "1h30m"`,
		`semaphores.gone removed`,
		`semaphores.more changed from 3 to 30`,
		`semaphores."a/new" added`,
		`loop.busy_poll changed from "1.5ms" to "off"`,
		`socket.new added: takes effect at the next start`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
