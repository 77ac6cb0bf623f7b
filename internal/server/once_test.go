package server

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
)

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
	h.until("it is under way", func() bool { return h.figures().Done == 5 })
	third := h.dial3()
	third.cmd("LOCK.DONE", "k", g.token, "PER", "boot") // done already, and not yet on disk
	h.until("it waits", func() bool { return h.figures().Unsaved == 2 })
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
