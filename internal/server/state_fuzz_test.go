package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/lockmgr"
)

// records reads what a table in the state directory has between its first and its last line. It gives false for what package
// state refuses.
func records[T any](text string) (records []T, ok bool) {
	for line := range strings.Lines(text) {
		var r T
		if json.Unmarshal([]byte(line), &r) != nil {
			return nil, false
		}
		records = append(records, r)
	}
	return records, true
}

// Whatever holds are found, they are refused, or the engine has them as they were.
func FuzzHolds(f *testing.F) {
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
		holds, ok := records[Hold](text)
		if !ok || CheckHolds(holds) != nil {
			return
		}
		now := lockmgr.Time{Real: max(realtime, 0) % maxReal, Boot: max(time.Duration(boot), 0) % (1 << 60)}
		m, err := restore(holds, now, 0, lockmgr.MaxToken)
		if err != nil {
			t.Fatalf("what was accepted is refused: %v", err)
		}
		for i := range holds {
			h := &holds[i]
			c, err := m.Hold(h.Name, lockmgr.Token(h.Token))
			if err != nil || c.Owner != operator(h.UID) || c.Units != h.Units || (c.Mode == lockmgr.Shared) != h.Shared || c.Why != h.Why {
				t.Errorf("%+v became %+v, %v", h, c, err)
			}
		}
		m.Expire(now) // what is over
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	})
}

// Whatever marks are found, they are refused, or there is one for each key and kind of period.
func FuzzDone(f *testing.F) {
	for _, seed := range []string{
		"", `{"key":"a","per":"ever","at":1,"uid":0,"pid":1}`,
		`{"key":"a","per":"day","period":"2026-11-25","at":1,"uid":0,"pid":1}` + "\n" + `{"key":"a","per":"boot","period":"x","at":1,"uid":0,"pid":1}`,
		`{"key":"a","per":"ever","uid":1}` + "\n" + `{"key":"a","per":"ever","uid":2}`,
		`{"key":"a","per":"never"}`, `{"key":"#","per":"ever"}`, "null", "{}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		marks, ok := records[Done](text)
		if !ok || CheckDone(marks) != nil {
			return
		}
		o := newOnce(new(account.Book), "boot", marks)
		kept := o.all()
		if again := newOnce(new(account.Book), "boot", kept); !slices.Equal(again.all(), kept) {
			t.Errorf("%v became %v", kept, again.all())
		}
		for _, m := range marks {
			if _, ok := o.marks[doneKey{m.Key, m.Per}]; !ok {
				t.Errorf("%v is gone", m)
			}
		}
		for _, m := range kept {
			o.forget(m.Key, func(uint32) bool { return true })
		}
		if len(o.marks)+o.users.Len() > 0 {
			t.Errorf("of %v there is left %v, of users %v", kept, o.marks, o.costs)
		}
	})
}
