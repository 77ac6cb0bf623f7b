package locks

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/record"
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
		marks, ok := records[record.Done](text)
		if !ok || record.CheckDone(marks) != nil {
			return
		}
		o := newOnce(new(account.Book), "boot", marks)
		kept := o.all()
		if again := newOnce(new(account.Book), "boot", kept); !slices.Equal(again.all(), kept) {
			t.Errorf("%v became %v", kept, again.all())
		}
		for _, m := range marks {
			if _, ok := o.done[doneKey{m.Key, m.Per}]; !ok {
				t.Errorf("%v is gone", m)
			}
		}
		for _, m := range kept {
			o.forget(m.Key, func(uint32) bool { return true })
		}
		if len(o.done)+o.users.Len() > 0 {
			t.Errorf("of %v there is left %v, of users %v", kept, o.done, o.costs)
		}
	})
}
