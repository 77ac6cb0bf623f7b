package server

import (
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// TestStatusNamesWhoIsBehind: IPCD.STATUS tells how many do not read, and of the one for which the most waits who that is and how much,
// wherever it is among many; and of nobody when all have read.
func TestStatusNamesWhoIsBehind(t *testing.T) {
	m := newManual(t, 1, func(_ *Setup, o *Options) { o.Limits.Connections = 1000 })
	asker, publisher := m.connect(false), m.connect(false)
	asker.cmd("HELLO", "3")
	slow := map[string]*end{}
	for i := range 400 { // more than are looked at in one step
		e := m.connect(i == 20 || i == 350)
		if i == 20 || i == 350 {
			e.cmd("HELLO", "3")
			e.cmd("BUS.SUB", "a")
			slow[map[int]string{20: "less", 350: "most"}[i]] = e
		}
	}
	slow["most"].cmd("BUS.SUB", "b")
	m.settle()
	status := func() wire.Value {
		t.Helper()
		asker.take()
		asker.cmd("IPCD.STATUS")
		for m.step() {
			asker.read(64 << 10)
		}
		for v := range values(t, []byte(asker.take())) {
			return v
		}
		t.Fatal("there is no answer")
		return wire.Value{}
	}
	check := func(count int64, client uint64, pid, bytes int) {
		t.Helper()
		v := status()
		for key, want := range map[string]int64{
			"connections_behind": count, "behind_client": int64(client), "behind_pid": int64(pid), "behind_bytes": int64(bytes),
		} {
			if got := v.Get(key).Int; got != want {
				t.Errorf("%s is %d, not %d", key, got, want)
			}
		}
		for _, key := range []string{"behind_client", "behind_pid", "behind_unit", "behind_bytes"} {
			if got := v.Get(key); got.IsNull() != (count == 0) {
				t.Errorf("with %d behind, %s is %+v", count, key, got)
			}
		}
	}
	check(0, 0, 0, 0)
	for range 100 {
		publisher.cmd("BUS.PUB", "a", strings.Repeat("x", 10<<10))
		publisher.cmd("BUS.PUB", "b", "x")
	}
	for m.step() || len(publisher.pending) > 0 {
		publisher.send()
		publisher.read(64 << 10)
	}
	most := m.of(slow["most"])
	check(2, most.ID, most.Peer.PID, most.Unread())
	if less := m.of(slow["less"]).Unread(); less == 0 || less >= most.Unread() {
		t.Fatalf("%d bytes wait for the one, %d for the other", less, most.Unread())
	}
	m.settle()
	check(0, 0, 0, 0)
}
