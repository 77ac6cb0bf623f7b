package locks

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/record"
)

// TestPeriods: what was done counts for this boot, for the machine's day, or for ever.
func TestPeriods(t *testing.T) {
	zone := time.Local
	t.Cleanup(func() { time.Local = zone })
	time.Local = time.FixedZone("east", 3*3600)
	night := time.Date(2026, 11, 25, 23, 30, 0, 0, time.Local)
	marks := []record.Done{
		{Key: "boot", Per: "boot", Period: "this"}, {Key: "reboot", Per: "boot", Period: "another"},
		{Key: "today", Per: "day", Period: "2026-11-25"}, {Key: "yesterday", Per: "day", Period: "2026-11-24"},
		{Key: "ever", Per: "ever"},
	}
	for _, c := range []struct {
		boot string
		now  time.Time
		want string
	}{
		{"this", night, "boot today ever"},
		{"this", night.UTC(), "boot today ever"}, // though it is the same day there
		{"this", night.Add(time.Hour).UTC(), "boot ever"},
		{"this", night.AddDate(0, 0, -1), "boot yesterday ever"},
		{"another", night.AddDate(1, 0, 0), "reboot ever"},
	} {
		o := newOnce(new(account.Book), c.boot, marks)
		var got []string
		for _, m := range marks {
			if _, ok := o.find(m.Key, m.Per, c.now); ok {
				got = append(got, m.Key)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("boot %s, %v: %q, want %s", c.boot, c.now, got, c.want)
		}
	}
}

// TestMarksPerUser: those of periods that are over make room for new ones, also those of others.
func TestMarksPerUser(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.Local)
	users := &account.Book{Limits: account.Limits{account.Marks: MaxDone}, Verify: true}
	o := newOnce(users, "this", nil)
	has := func(uid uint32, n int) bool {
		u := users.Find(uid)
		return u == nil && n == 0 || u != nil && u.Used(account.Marks) == n
	}
	add := func(uid uint32, i int, per, period string) {
		o.set(record.Done{Key: fmt.Sprint(per, i), Per: per, Period: period, UID: uid})
	}
	for i := range MaxDone - 2 {
		add(1, i, "ever", "")
	}
	add(1, 0, "day", "2026-11-24")
	add(2, 1, "day", "2026-11-24")
	if o.room(1, now) != nil || len(o.done) != MaxDone {
		t.Errorf("%d marks", len(o.done))
	}
	add(1, 0, "boot", "this")
	if o.room(1, now) != nil || !has(1, MaxDone-1) || !has(2, 0) {
		t.Errorf("%d marks, %v", len(o.done), o.costs)
	}
	add(1, 1, "boot", "this")
	if o.room(1, now) == nil || o.room(2, now) != nil {
		t.Errorf("%v", o.costs)
	}
	// Who marks what another had marked takes it over.
	add(2, 0, "ever", "")
	if o.room(1, now) != nil || !has(2, 1) {
		t.Errorf("%v", o.costs)
	}
	if gone := o.forget("ever0", func(uid uint32) bool { return uid == 1 }); len(gone) != 0 {
		t.Errorf("forgotten: %v", gone)
	}
	add(1, 5, "day", "2026-11-25")
	if gone := o.forget("ever0", func(uint32) bool { return true }); len(gone) != 1 || !has(2, 0) {
		t.Errorf("forgotten: %v, %v", gone, o.costs)
	}
	if all := o.all(); !slices.IsSortedFunc(all, func(a, b record.Done) int { return strings.Compare(a.Key, b.Key) }) || len(all) != len(o.done) {
		t.Errorf("%v", all)
	}
}
