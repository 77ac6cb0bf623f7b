package record

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// TestCheckOperatorHolds: what cannot be true is noticed.
func TestCheckOperatorHolds(t *testing.T) {
	good := OperatorHold{Name: "a", Token: 5, Units: 1, Limit: 2, UID: 1, Since: 5}
	change := func(f func(*OperatorHold)) OperatorHold {
		h := good
		h.UID, h.Token = 2, 6
		f(&h)
		return h
	}
	if err := CheckOperatorHolds([]OperatorHold{change(func(*OperatorHold) {}), good}); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]OperatorHold{
		"no token":          change(func(h *OperatorHold) { h.Token = 0 }),
		"the same token":    change(func(h *OperatorHold) { h.Token = 5 }),
		"a token too high":  change(func(h *OperatorHold) { h.Token = 1 << 53 }),
		"the same user":     change(func(h *OperatorHold) { h.UID = 1 }),
		"another limit":     change(func(h *OperatorHold) { h.Limit = 3 }),
		"no limit":          change(func(h *OperatorHold) { h.Name, h.Limit = "b", 0 }),
		"too many units":    change(func(h *OperatorHold) { h.Units = 2 }),
		"no units":          change(func(h *OperatorHold) { h.Units = 0 }),
		"shared":            change(func(h *OperatorHold) { h.Shared, h.Units = true, 0 }),
		"shared with units": change(func(h *OperatorHold) { h.Name, h.Shared = "b", true }),
		"no name":           change(func(h *OperatorHold) { h.Name = "" }),
		"a bad name":        change(func(h *OperatorHold) { h.Name = "b/\x1b" }),
		"a bad reason":      change(func(h *OperatorHold) { h.Why = "\x1b[2J" }),
		"a lease alone":     change(func(h *OperatorHold) { h.Lease = 5 }),
		"an end alone":      change(func(h *OperatorHold) { h.Expires = 5 }),
		"an endless lease":  change(func(h *OperatorHold) { h.Expires, h.Lease = 1<<62, 5 }),
		"a time before all": change(func(h *OperatorHold) { h.Since = -1 << 62 }),
	} {
		if err := CheckOperatorHolds([]OperatorHold{good, bad}); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

// TestWithOperatorHolds: the file counts for what a journal does not have, unless that is complete. Nothing is there twice, nor under an ID of
// something else.
func TestWithOperatorHolds(t *testing.T) {
	lines := []OperatorHold{{Name: "a", Token: 5, Units: 1, Limit: 1}, {Name: "b", Token: 6, Units: 1, Limit: 1}}
	now := lockmgr.Time{}
	held := OperatorHolds(lines, now)
	other := Of(&Hold{Limit: 1, Claim: lockmgr.Claim{
		Request: lockmgr.Request{Name: "c", Units: 1, Bind: lockmgr.ToLease, Owner: lockmgr.Owner{Process: lockmgr.Process{PID: 7, Start: 8}}},
		ID:      2, Token: 9, Entries: 1,
	}})
	for name, have := range map[string][]Record{
		"there was none":      nil,
		"nothing was written": {},
		"some was written":    {other, held[0]},
	} {
		state, bad := Read(WithOperatorHolds(have, lines, now))
		ids := map[lockmgr.RequestID]bool{}
		of := map[string]bool{}
		for _, h := range state.Holds {
			ids[h.Claim.ID], of[h.Claim.Name] = true, true
		}
		if bad != nil || !of["a"] || !of["b"] || len(ids) != len(state.Holds) {
			t.Errorf("%s: there is %v, with IDs %v: %v", name, of, ids, bad)
		}
	}
	if got := WithOperatorHolds([]Record{other, Of(&Complete{})}, lines, now); len(got) != 2 {
		t.Errorf("a complete journal has %v", got)
	}
}

// lines reads what a table in the state directory has between its first and its last line. It gives false for what package
// state refuses.
func lines[T any](text string) (all []T, ok bool) {
	for line := range strings.Lines(text) {
		var r T
		if json.Unmarshal([]byte(line), &r) != nil {
			return nil, false
		}
		all = append(all, r)
	}
	return all, true
}

// Whatever holds are found, they are refused, or the engine has them as they were.
func FuzzOperatorHolds(f *testing.F) {
	const hold = `{"name":"a","token":7,"units":1,"limit":1,"uid":0,"gid":0,"since":1795646133440238}`
	for _, seed := range []string{
		"", hold, hold + "\n" + hold, hold + "\n" + strings.Replace(hold, `"token":7`, `"token":8`, 1),
		`{"name":"s","token":9007199254740991,"units":2,"limit":3,"uid":1,"gid":1,"unit":"x.service","why":"disk","since":0,"expires":9007199254740992,"lease":9007199254740992}` +
			"\n" + `{"name":"s","token":1,"units":1,"limit":3,"uid":2,"gid":2,"since":9007199254740992,"expires":1,"lease":1}`,
		`{"name":"r","token":3,"shared":true,"limit":1,"uid":1,"since":1}` + "\n" + `{"name":"r","token":2,"shared":true,"limit":1,"uid":2,"since":1}`,
		`{"name":"#","token":1,"limit":1}`, `{"name":"a","token":-1}`, `{"name":"a","units":-1}`, "null", "{}",
	} {
		f.Add(seed, int64(1795646133440238), int64(3600))
	}
	f.Fuzz(func(t *testing.T, text string, realtime, boot int64) {
		holds, ok := lines[OperatorHold](text)
		if !ok || CheckOperatorHolds(holds) != nil {
			return
		}
		now := lockmgr.Time{Real: max(realtime, 0) % maxReal, Boot: max(time.Duration(boot), 0) % (1 << 60)}
		state, bad := Read(OperatorHolds(holds, now))
		m := lockmgr.Restore(state.Snapshot(), 0, lockmgr.MaxToken)
		if err := m.Check(); bad != nil || err != nil {
			t.Fatalf("what was accepted is refused: %v, %v", bad, err)
		}
		for i := range holds {
			h := &holds[i]
			c, err := m.Hold(h.Name, lockmgr.Token(h.Token))
			if err != nil || c.Owner != Operator(h.UID) || c.Units != h.Units || (c.Mode == lockmgr.Shared) != h.Shared || c.Why != h.Why {
				t.Errorf("%+v became %+v, %v", h, c, err)
			}
		}
		m.Expire(now, lockmgr.All) // what is over
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	})
}
