package ipc_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

func TestLockRequestWords(t *testing.T) {
	for want, r := range map[string]ipc.LockRequest{
		"LOCK.ACQUIRE a": {Names: []string{"a"}},
		"LOCK.ACQUIRE a AND b SHARED LIMIT 4 FOR self WITH 5 c UNTOLD WHY x WAIT 0 REQID r": {
			Names: []string{"a", "b"}, Mode: "shared", Limit: 4, For: "self", Shown: []ipc.Hold{{Name: "c", Token: 5}}, Untold: true, Why: "x", Waits: true, ID: "r"},
		"LOCK.ACQUIRE a OWNER o UNITS 2 LEASE 1500 WAIT 1 ASYNC": {
			Names: []string{"a"}, Owner: "o", Mode: "units", Units: 2, Leased: true, Lease: 1500 * time.Millisecond, Waits: true, Wait: 1, Async: true},
		"LOCK.ACQUIRE a FOR self JOIN 7": {Names: []string{"a"}, For: "self", Join: 7},
		"LOCK.ACQUIRE a LEASE 301":       {Names: []string{"a"}, Leased: true, Lease: 300*time.Millisecond + 1}, // never less than was asked for
		"LOCK.ACQUIRE a LEASE 0":         {Names: []string{"a"}, Leased: true},                                  // for the daemon to refuse
		"LOCK.ACQUIRE a WAIT 9223372036855": {
			Names: []string{"a"}, Waits: true, Wait: 1<<63 - 1},
	} {
		if got := strings.Join(r.Words(), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The lines of IPC_LOCKS that make no sense are not sent, nor more than the daemon takes: then the latest.
func TestInheritedHolds(t *testing.T) {
	t.Setenv("IPC_LOCKS", "\n1 a\nx b\n0 c\n5\n6 \n9007199254740993 d\n7 with blank\n")
	if got, want := ipc.InheritedHolds(), []ipc.Hold{{Name: "a", Token: 1}, {Name: "with blank", Token: 7}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	t.Setenv("IPC_LOCKS", strings.Repeat("1 a\n", 10)+strings.Repeat("2 b\n", wire.MaxShown))
	if got := ipc.InheritedHolds(); len(got) != wire.MaxShown || got[0].Name != "b" {
		t.Errorf("%d holds, the first is %v", len(got), got[0])
	}
}

func TestHolds(t *testing.T) {
	grant := func(name string, token int64) []wire.Value {
		text := func(s string) wire.Value { return wire.Value{Kind: wire.KindBulk, Str: s} }
		return []wire.Value{text("name"), text(name), text("token"), {Kind: wire.KindInt, Int: token}, text("mode"), text("shared"),
			text("previous"), text("exited 1"), text("abandoned"), text("")}
	}
	a, b := ipc.Hold{Name: "a", Token: 7, Mode: "shared", Previous: "exited 1"}, ipc.Hold{Name: "b", Token: 8, Mode: "shared", Previous: "exited 1"}
	for _, kind := range []wire.Kind{wire.KindMap, wire.KindArray} { // RESP3, RESP2
		one := wire.Value{Kind: kind, Elems: grant("a", 7)}
		if got := ipc.Holds(one); !slices.Equal(got, []ipc.Hold{a}) {
			t.Errorf("one: %v", got)
		}
		all := wire.Value{Kind: wire.KindArray, Elems: []wire.Value{one, {Kind: kind, Elems: grant("b", 8)}}}
		two := wire.Value{Kind: kind, Elems: append(grant("a", 7), wire.Value{Kind: wire.KindBulk, Str: "locks"}, all)}
		if got := ipc.Holds(two); !slices.Equal(got, []ipc.Hold{a, b}) {
			t.Errorf("two: %v", got)
		}
	}
}
