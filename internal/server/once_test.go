package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
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
	users := &account.Book{Limits: account.Limits{account.Marks: maxDone}, Verify: true}
	o := newOnce(users, "this", nil)
	has := func(uid uint32, n int) bool {
		u := users.Find(uid)
		return u == nil && n == 0 || u != nil && u.Used(account.Marks) == n
	}
	add := func(uid uint32, i int, per, period string) {
		o.set(record.Done{Key: fmt.Sprint(per, i), Per: per, Period: period, UID: uid})
	}
	for i := range maxDone - 2 {
		add(1, i, "ever", "")
	}
	add(1, 0, "day", "2026-11-24")
	add(2, 1, "day", "2026-11-24")
	if o.room(1, now) != nil || len(o.done) != maxDone {
		t.Errorf("%d marks", len(o.done))
	}
	add(1, 0, "boot", "this")
	if o.room(1, now) != nil || !has(1, maxDone-1) || !has(2, 0) {
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

// A disk is where a test's server keeps a table: each write waits for the test to say what comes of it.
type disk[T any] struct{ writes chan write[T] }

type write[T any] struct {
	rows []T
	done func(error)
}

func newDisk[T any]() disk[T] { return disk[T]{make(chan write[T], 100)} }

func (d disk[T]) save(rows []T, done func(error)) { d.writes <- write[T]{slices.Clone(rows), done} }

// next waits for a write, which has to be of so many rows.
func (d disk[T]) next(t *testing.T, rows int) write[T] {
	t.Helper()
	select {
	case w := <-d.writes:
		if len(w.rows) != rows {
			t.Fatalf("%d rows are written, want %d: %+v", len(w.rows), rows, w.rows)
		}
		return w
	case <-time.After(patience):
		t.Fatal("nothing is written")
	}
	panic("unreachable")
}

// none checks that nothing is being written.
func (d disk[T]) none(t *testing.T) {
	t.Helper()
	if len(d.writes) > 0 {
		w := <-d.writes
		t.Errorf("written: %+v", w.rows)
	}
}

// TestDone: who holds the lock of that name says that it is done, which is answered when it is on disk.
func TestDone(t *testing.T) {
	disk := newDisk[record.Done]()
	h := start(t, func(s *Setup, _ *Options) {
		s.SaveDone, s.BootID = disk.save, "this"
		s.Done = []record.Done{{Key: "old", Per: "ever", At: 7, UID: 5, PID: 9}, {Key: "old", Per: "boot", Period: "another"}}
	})
	c, other := h.dial3(), h.dial3()
	if v := c.do("LOCK.ISDONE", "old", "per", "Ever"); v.Get("at").Int != 7 || v.Get("uid").Int != 5 || v.Get("pid").Int != 9 {
		t.Errorf("got %+v", v)
	}
	for _, per := range []string{"boot", "day"} {
		if v := c.do("LOCK.ISDONE", "old", "PER", per); !v.IsNull() {
			t.Errorf("%s: %+v", per, v)
		}
	}
	c.refused(wire.CodeErr, "PER wants", "LOCK.ISDONE", "old", "PER", "week")
	c.refused(wire.CodeErr, "PER wants", "LOCK.ISDONE", "old", "FOR", "day")
	c.refused(wire.CodeNoLock, "", "LOCK.DONE", "k", "1", "PER", "day")
	g := c.acquire("k")
	c.refused(wire.CodeStale, "", "LOCK.DONE", "k", "1", "PER", "day")
	c.refused(wire.CodeErr, "PER wants", "LOCK.DONE", "k", g.token, "PER", "1")

	c.cmd("LOCK.DONE", "k", g.token, "PER", "day")
	c.cmd("PING")
	w := disk.next(t, 3)
	c.quiet()
	w.done(nil)
	c.want("+OK\r\n+PONG\r\n")
	if v := other.do("LOCK.ISDONE", "k", "PER", "day"); v.Get("pid").Int != int64(h.self.PID) {
		t.Errorf("got %+v", v)
	}
	// Two that change while the disk is busy are written together.
	c.cmd("LOCK.DONE", "k", g.token, "PER", "ever")
	first := disk.next(t, 4)
	other.cmd("LOCK.DONE", "k", g.token, "PER", "boot")
	h.until("it is under way", func() bool { return len(h.once.done) == 5 })
	third := h.dial3()
	third.cmd("LOCK.DONE", "k", g.token, "PER", "boot") // done already, and not yet on disk
	h.until("it waits", func() bool { return len(h.once.waiting) == 2 })
	disk.none(t)
	first.done(nil)
	c.want("+OK\r\n")
	w = disk.next(t, 5)
	other.quiet()
	w.done(errors.New("the disk is full"))
	other.fails(wire.CodeIO, "the disk is full")
	third.fails(wire.CodeIO, "the disk is full")
	if v := other.do("LOCK.ISDONE", "k", "PER", "boot"); !v.IsNull() {
		t.Errorf("got %+v", v)
	}
	if !strings.Contains(h.log.String(), "cannot keep what was done") {
		t.Error("it is not logged")
	}
	c.cmd("LOCK.FORGET", "k")
	disk.next(t, 2).done(nil)
	c.want(":2\r\n")
	c.cmd("LOCK.FORGET", "k")
	c.want(":0\r\n")

	// One who leaves meanwhile has it done all the same.
	c.cmd("LOCK.DONE", "k", g.token, "PER", "ever")
	w = disk.next(t, 3)
	c.close()
	h.quiesce(other, third)
	w.done(nil)
	if v := other.do("LOCK.ISDONE", "k", "PER", "ever"); v.IsNull() {
		t.Error("it is not done")
	}
}
