package policy

import (
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

func TestAllow(t *testing.T) {
	rules := Rules{Daemon: 900, Reserved: []byte("ipcd/")}
	const (
		topics = "topics under ipcd/ are the daemon's own"
		names  = "names under ipcd/ are the daemon's own"
		admin  = "IPCD.RELOAD is for root and the user of the daemon"
	)
	for _, c := range []struct {
		uid    uint32
		access wire.Access
		name   string
		want   string
	}{
		{1000, wire.AccessNone, "ipcd/a", ""},
		{1000, wire.AccessPublish, "a", ""},
		{1000, wire.AccessPublish, "ipcd", ""},
		{1000, wire.AccessPublish, "ipcd/a", topics},
		{0, wire.AccessPublish, "ipcd/", topics},
		{1000, wire.AccessSubscribe, "ipcd/#", ""},
		{1000, wire.AccessLook, "a/ipcd/", ""},
		{1000, wire.AccessLook, "ipcd/a", names},
		{900, wire.AccessLock, "ipcd/a", names},
		{1000, wire.AccessLock, "a", ""},
		{0, wire.AccessBreak, "ipcd/a", names},
		{1000, wire.AccessBreak, "a", ""}, // whose the hold is shows when it is found
		{1000, wire.AccessAdmin, "IPCD.RELOAD", admin},
		{900, wire.AccessAdmin, "IPCD.RELOAD", ""},
		{0, wire.AccessAdmin, "IPCD.RELOAD", ""},
	} {
		got := ""
		if err := rules.Allow(Peer{c.uid}, c.access, []byte(c.name)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("user %d, %v of %q: %q, want %q", c.uid, c.access, c.name, got, c.want)
		}
	}
}

func TestOwns(t *testing.T) {
	for _, c := range []struct {
		who, uid uint32
		want     bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 1001, false}, {1000, 0, false}} {
		if got := Owns(Peer{c.who}, c.uid); got != c.want {
			t.Errorf("user %d, what is user %d's: %v", c.who, c.uid, got)
		}
	}
}
