package policy

import (
	"testing"

	"github.com/ipcd/ipcd/ipc"
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
		access ipc.Access
		name   string
		want   string
	}{
		{1000, ipc.AccessNone, "ipcd/a", ""},
		{1000, ipc.AccessPublish, "a", ""},
		{1000, ipc.AccessPublish, "ipcd", ""},
		{1000, ipc.AccessPublish, "ipcd/a", topics},
		{0, ipc.AccessPublish, "ipcd/", topics},
		{1000, ipc.AccessSubscribe, "ipcd/#", ""},
		{1000, ipc.AccessLook, "a/ipcd/", ""},
		{1000, ipc.AccessLook, "ipcd/a", names},
		{900, ipc.AccessLock, "ipcd/a", names},
		{1000, ipc.AccessLock, "a", ""},
		{0, ipc.AccessBreak, "ipcd/a", names},
		{1000, ipc.AccessBreak, "a", ""}, // whose the hold is shows when it is found
		{1000, ipc.AccessAdmin, "IPCD.RELOAD", admin},
		{900, ipc.AccessAdmin, "IPCD.RELOAD", ""},
		{0, ipc.AccessAdmin, "IPCD.RELOAD", ""},
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
