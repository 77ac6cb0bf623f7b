package record

import (
	"reflect"
	"testing"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

func hold(name string, pid, token, limit, units int) *Hold {
	c := lockmgr.Claim{
		Request: lockmgr.Request{Name: name, Units: units, Bind: lockmgr.ToProcess, Owner: lockmgr.Owner{Process: lockmgr.Process{PID: pid, Start: 8}}},
		ID:      lockmgr.RequestID(pid), Token: lockmgr.Token(token), Entries: 1,
	}
	if units == 0 {
		c.Mode = lockmgr.Shared
	}
	return NewHold(c, limit, nil)
}

func operators(name string, uid uint32, token int) *Hold {
	h := hold(name, 0, token, 5, 1)
	h.Claim.Bind, h.Claim.Owner, h.Claim.UID, h.Claim.ID = lockmgr.ToNobody, Operator(uid), uid, 9
	return h
}

// TestRead: the samples are true together, and the engine takes them.
func TestRead(t *testing.T) {
	state, bad := Read(append(samples(), Record{Subject: Subject{Kind: KindEnd, Lock: "gone"}}))
	if bad != nil {
		t.Error(bad)
	}
	m := lockmgr.Restore(state.Snapshot(), 0, lockmgr.MaxToken)
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	for _, r := range samples() {
		switch r := r.Is.(type) {
		case *Hold:
			if c, ok := m.Claim(r.Claim.Name, r.Claim.Owner); !ok || c.Token != r.Claim.Token {
				t.Errorf("%v is %v", r.Claim, c)
			}
		case *End:
			if v := m.View(r.Lock); !reflect.DeepEqual(v.Abandoned, r.End) || !reflect.DeepEqual(v.Previous, r.End) {
				t.Errorf("%q was abandoned: %v", r.Lock, v.Abandoned)
			}
		case *Mark:
			if last, _ := m.Tokens(); last != r.Token {
				t.Errorf("tokens go on from %d", last)
			}
		}
	}
}

// TestReadBad: what cannot be true is noticed, and takes nothing else along.
func TestReadBad(t *testing.T) {
	holds := func(change func(*Hold)) Body {
		h := hold("a", 7, 5, 2, 1)
		change(h)
		return h
	}
	for name, bad := range map[string]Body{
		"no name":              holds(func(h *Hold) { h.Claim.Name = "" }),
		"a bad name":           holds(func(h *Hold) { h.Claim.Name = "b/\x1b" }),
		"no number":            holds(func(h *Hold) { h.Claim.ID = 0 }),
		"no token":             holds(func(h *Hold) { h.Claim.Token = 0 }),
		"a token too high":     holds(func(h *Hold) { h.Claim.Token = 1 << 53 }),
		"no process":           holds(func(h *Hold) { h.Claim.Owner.Process.PID = 0 }),
		"a connection's":       holds(func(h *Hold) { h.Claim.Bind = lockmgr.ToConnection }),
		"bound to what":        holds(func(h *Hold) { h.Claim.Bind = 9 }),
		"an operator's":        holds(func(h *Hold) { h.Claim.Bind = lockmgr.ToNobody }),
		"too many units":       holds(func(h *Hold) { h.Claim.Units = 3 }),
		"no units":             holds(func(h *Hold) { h.Claim.Units = 0 }),
		"no limit":             holds(func(h *Hold) { h.Limit = 0 }),
		"shared with units":    holds(func(h *Hold) { h.Claim.Mode = lockmgr.Shared }),
		"a mode of its own":    holds(func(h *Hold) { h.Claim.Mode = 7 }),
		"no entries":           holds(func(h *Hold) { h.Claim.Entries = 0 }),
		"a lease alone":        holds(func(h *Hold) { h.Claim.Lease = 5 }),
		"a lease that is over": holds(func(h *Hold) { h.Claim.Lease, h.Claim.Expires = 5, -5 }),
		"a connection":         holds(func(h *Hold) { h.Claim.Conn = 5 }),
		"a request":            holds(func(h *Hold) { h.Claim.Join = 5 }),
		"of another's token":   holds(func(h *Hold) { h.Claim.Token = 3 }),
		"abandoned by nobody":  &End{"a", nil},
		"not abandoned":        &End{"a", &lockmgr.End{How: lockmgr.Released}},
		"of no lock":           &End{"", &lockmgr.End{How: lockmgr.Killed, Status: 9}},
		"no mark":              &Mark{},
		"a mark too high":      &Mark{1 << 53},
	} {
		state, errs := Read([]Record{Of(hold("c", 7, 3, 2, 1)), Of(bad), Of(hold("d", 7, 4, 2, 1))})
		if len(errs) != 1 || len(state.Holds) != 2 {
			t.Errorf("%s: %d holds, errors: %v", name, len(state.Holds), errs)
		}
	}
}

// TestReadContradictions: of holds that exclude each other the latest is true, and the others are told of.
func TestReadContradictions(t *testing.T) {
	of := func(pid, token, limit, units int) Record { return Of(hold("a", pid, token, limit, units)) }
	operator := func(name string, uid uint32, token int) Record { return Of(operators(name, uid, token)) }
	for name, x := range map[string]struct {
		records []Record
		left    int
	}{
		"two alone":                {[]Record{of(1, 5, 1, 1), of(2, 6, 1, 1)}, 1},
		"one that joined":          {[]Record{of(1, 5, 1, 1), of(2, 5, 1, 1)}, 2},
		"two share":                {[]Record{of(1, 5, 1, 0), of(2, 6, 1, 0)}, 2},
		"alone, then shared":       {[]Record{of(1, 5, 1, 1), of(2, 6, 1, 0)}, 1},
		"units that fit":           {[]Record{of(1, 5, 3, 1), of(2, 6, 3, 2)}, 2},
		"units that do not":        {[]Record{of(1, 5, 3, 2), of(2, 6, 3, 2), of(3, 7, 3, 1)}, 2},
		"another limit":            {[]Record{of(1, 5, 2, 1), of(2, 6, 3, 1)}, 1},
		"of one token two modes":   {[]Record{of(1, 5, 1, 1), of(2, 5, 1, 0)}, 1},
		"one owner twice":          {[]Record{of(1, 5, 3, 1), of(1, 6, 3, 1)}, 1},
		"operators":                {[]Record{operator("a", 1, 5), operator("a", 2, 6)}, 2},
		"operators with one token": {[]Record{operator("a", 1, 5), operator("a", 2, 5)}, 1},
		"an operator and a member": {[]Record{operator("a", 1, 5), of(2, 5, 5, 1)}, 2},
		"a token of two locks":     {[]Record{operator("a", 1, 5), operator("b", 1, 5)}, 1},
	} {
		state, bad := Read(x.records)
		if len(state.Holds) != x.left || len(bad) != len(x.records)-x.left {
			t.Errorf("%s: %d holds, errors: %v", name, len(state.Holds), bad)
			continue
		}
		if err := lockmgr.Restore(state.Snapshot(), 0, 0).Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOperatorHolds: a hold is the same as a record of the journal and as a line of the file, but for its times, which go by the time
// of day there.
func TestOperatorHolds(t *testing.T) {
	then := lockmgr.Time{Boot: time.Hour, Real: 1_000_000_000_000}
	h := operators("a", 7, 5)
	h.Claim.GID, h.Claim.Unit, h.Claim.Why, h.Claim.Since = 8, "x.service", "disk", then
	h.Claim.Lease, h.Claim.Expires = time.Minute, then.Boot+time.Minute
	line := NewOperatorHold(&h.Claim, h.Limit, then)
	if err := CheckOperatorHolds([]OperatorHold{line}); err != nil {
		t.Fatal(err)
	}
	for _, up := range []time.Duration{time.Hour, time.Second} { // the machine was started again, 10 s later
		now := lockmgr.Time{Boot: up, Real: then.Real + 10_000_000}
		got := OperatorHolds([]OperatorHold{line}, now)[0].Is.(*Hold)
		want := *h
		want.Claim.ID = 1
		want.Claim.Since.Boot, want.Claim.Expires = up-10*time.Second, up+50*time.Second
		if string(Of(got).Append(nil)) != string(Of(&want).Append(nil)) {
			t.Errorf("got\n%s\nand not\n%s", Of(got).Append(nil), Of(&want).Append(nil))
		}
		if NewOperatorHold(&got.Claim, got.Limit, now) != line {
			t.Errorf("the line is %+v", NewOperatorHold(&got.Claim, got.Limit, now))
		}
	}
}
