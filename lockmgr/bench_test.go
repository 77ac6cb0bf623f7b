package lockmgr_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// A bench drives a Manager as a daemon does: it takes the effects after each step.
type bench struct {
	*lockmgr.Manager
	b *testing.B
}

func newBench(b *testing.B) bench {
	b.ReportAllocs()
	return bench{lockmgr.New(0, lockmgr.MaxToken), b}
}

func (m bench) ask(name string, pid int, mode lockmgr.Mode) lockmgr.RequestID {
	id, err := m.Acquire(lockmgr.Time{}, benchRequest(name, pid, mode))
	if err != nil {
		m.b.Fatal(err)
	}
	return id
}

func (m bench) release(name string, t lockmgr.Token) []lockmgr.Effect {
	if err := m.Release(lockmgr.Time{}, name, t); err != nil {
		m.b.Fatal(err)
	}
	return m.Effects()
}

func benchRequest(name string, pid int, mode lockmgr.Mode) lockmgr.Request {
	return lockmgr.Request{
		Name: name, Mode: mode, Wait: lockmgr.Forever, Conn: lockmgr.ConnID(pid),
		Owner: lockmgr.Owner{Process: lockmgr.Process{PID: pid, Start: 98765}},
		Info:  lockmgr.Info{Unit: "backup.service"},
	}
}

func benchNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("/run/lock/%d", i)
	}
	return names
}

// One process takes one lock and gives it back: free but remembered in between.
func BenchmarkPair(b *testing.B) {
	m := newBench(b)
	for b.Loop() {
		m.ask("backup", 1, lockmgr.Exclusive)
		m.release("backup", m.Effects()[0].Token)
	}
}

// The same with so many locks that each is forgotten before its next turn, while as many others are held.
func BenchmarkPairMany(b *testing.B) {
	m := newBench(b)
	names := benchNames(20_000)
	held, names := names[:10_000], names[10_000:]
	for i, name := range held {
		m.ask(name, 2+i, lockmgr.Exclusive)
	}
	m.Effects()
	i := 0
	for b.Loop() {
		name := names[i%len(names)]
		i++
		m.ask(name, 1, lockmgr.Exclusive)
		m.release(name, m.Effects()[0].Token)
	}
}

// The holder releases, the head of the queue is granted, and the one who released joins the queue again.
func BenchmarkHandOff(b *testing.B) {
	for _, waiters := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(waiters), func(b *testing.B) {
			m := newBench(b)
			for pid := range waiters + 1 {
				m.ask("backup", 1+pid, lockmgr.Exclusive)
			}
			holder := m.Effects()[0].Claim
			for b.Loop() {
				next := m.release("backup", holder.Token)[1].Claim
				m.ask("backup", holder.Owner.Process.PID, lockmgr.Exclusive)
				m.Effects()
				holder = next
			}
		})
	}
}

// One more joins the holders of a shared lock and leaves.
func BenchmarkSharedPair(b *testing.B) {
	for _, holders := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(holders), func(b *testing.B) {
			m := newBench(b)
			for pid := range holders {
				m.ask("backup", 2+pid, lockmgr.Shared)
			}
			m.Effects()
			for b.Loop() {
				m.ask("backup", 1, lockmgr.Shared)
				m.release("backup", m.Effects()[0].Token)
			}
		})
	}
}

// The oldest of the holders leaves and joins again: the worst place to leave from.
func BenchmarkSharedOldest(b *testing.B) {
	m := newBench(b)
	var holders []lockmgr.Claim
	for pid := range 10_000 {
		m.ask("backup", 1+pid, lockmgr.Shared)
		holders = append(holders, m.Effects()[0].Claim)
	}
	i := 0
	for b.Loop() {
		h := &holders[i%len(holders)]
		i++
		m.release("backup", h.Token)
		m.ask("backup", h.Owner.Process.PID, lockmgr.Shared)
		*h = m.Effects()[0].Claim
	}
}

func BenchmarkTryBusy(b *testing.B) {
	m := newBench(b)
	m.ask("backup", 1, lockmgr.Exclusive)
	r := benchRequest("backup", 2, lockmgr.Exclusive)
	r.Wait = lockmgr.Try
	for b.Loop() {
		if _, err := m.Acquire(lockmgr.Time{}, r); err != lockmgr.ErrBusy {
			b.Fatal(err)
		}
	}
}

// One more joins a queue, in which everybody has a deadline, and is cancelled.
func BenchmarkCancel(b *testing.B) {
	for _, waiters := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(waiters), func(b *testing.B) {
			m := newBench(b)
			for pid := range waiters + 1 {
				r := benchRequest("backup", 2+pid, lockmgr.Exclusive)
				r.Wait = time.Second
				if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
					b.Fatal(err)
				}
			}
			m.Effects()
			r := benchRequest("backup", 1, lockmgr.Exclusive)
			r.Wait = time.Second / 2 // the soonest: to the top of the heap, and out of it
			for b.Loop() {
				id, err := m.Acquire(lockmgr.Time{}, r)
				if err != nil || !m.Cancel(lockmgr.Time{}, id) {
					b.Fatal("was not queued and cancelled: ", err)
				}
				m.Effects()
			}
		})
	}
}
