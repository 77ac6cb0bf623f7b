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

// One process takes one lock and gives it back: free but remembered in between. Then 64 of them in turns.
func BenchmarkPair(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			m := newBench(b)
			for i := 0; b.Loop(); i++ {
				m.ask("backup", 1+i%clients, lockmgr.Exclusive)
				m.release("backup", m.Effects()[0].Token)
			}
		})
	}
}

// The same with so many locks that each is forgotten before its next turn, while as many others are held.
func BenchmarkPairMany(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			m := newBench(b)
			names := benchNames(20_000)
			held, names := names[:10_000], names[10_000:]
			for i, name := range held {
				m.ask(name, 100+i, lockmgr.Exclusive)
			}
			m.Effects()
			for i := 0; b.Loop(); i++ {
				name := names[i%len(names)]
				m.ask(name, 1+i%clients, lockmgr.Exclusive)
				m.release(name, m.Effects()[0].Token)
			}
		})
	}
}

// One process takes several locks at once and gives them back.
func BenchmarkSet(b *testing.B) {
	for _, size := range []int{1, 2, 8, 32} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := newBench(b)
			r := benchRequest("", 1, lockmgr.Exclusive)
			r.Set = benchNames(size)
			r.Name = r.Set[0]
			var tokens []lockmgr.Token
			for b.Loop() {
				if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
					b.Fatal(err)
				}
				tokens = tokens[:0]
				for _, e := range m.Effects() {
					tokens = append(tokens, e.Token)
				}
				for i, t := range tokens {
					m.release(r.Set[i], t)
				}
			}
		})
	}
}

// A process that shows the token of a hold joins it and leaves.
func BenchmarkJoin(b *testing.B) {
	m := newBench(b)
	m.ask("backup", 1, lockmgr.Exclusive)
	r := benchRequest("backup", 2, lockmgr.Exclusive)
	r.Shown = []lockmgr.Shown{{Name: "backup", Token: m.Effects()[0].Token}}
	for b.Loop() {
		if _, err := m.Acquire(lockmgr.Time{}, r); err != nil {
			b.Fatal(err)
		}
		if err := m.Leave(lockmgr.Time{}, "backup", r.Shown[0].Token, r.Owner.Process); err != nil {
			b.Fatal(err)
		}
		m.Effects()
	}
}

// What it costs to see that a wait is a deadlock, or none: for one who holds what somebody waits for, before a chain of
// others of whom each holds what the one before him waits for, and before a queue.
func BenchmarkDeadlock(b *testing.B) {
	for _, length := range []int{1, 100, 1000} {
		for _, shape := range []string{"cycle", "chain", "queue"} {
			b.Run(fmt.Sprint(shape, "/", length), func(b *testing.B) {
				m := newBench(b)
				m.ask("mine", 1, lockmgr.Exclusive)
				if shape != "cycle" {
					m.ask("mine", 2+length, lockmgr.Exclusive)
				}
				for pid := 2; pid < 2+length; pid++ {
					lock, next := "0", "0"
					if shape != "queue" {
						lock, next = fmt.Sprint(pid-2), fmt.Sprint(pid-3)
					}
					m.ask(lock, pid, lockmgr.Exclusive)
					switch {
					case pid > 2 && shape != "queue":
						m.ask(next, pid, lockmgr.Exclusive)
					case pid == 2 && shape == "cycle":
						m.ask("mine", pid, lockmgr.Exclusive)
					}
				}
				m.Effects()
				name := "0"
				if shape != "queue" {
					name = fmt.Sprint(length - 1)
				}
				r := benchRequest(name, 1, lockmgr.Exclusive)
				for b.Loop() {
					id, err := m.Acquire(lockmgr.Time{}, r)
					if (err != nil) != (shape == "cycle") {
						b.Fatal(err)
					}
					m.Cancel(lockmgr.Time{}, id)
					m.Effects()
				}
			})
		}
	}
}

// The same where each of many holds is kept by many waits. The last is as much as one user may have.
func BenchmarkDeadlockTangle(b *testing.B) {
	for _, n := range []int{10, 100, 2500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newBench(b)
			tangle(b, m.Manager, n)
			for b.Loop() {
				id, err := m.Acquire(lockmgr.Time{}, benchRequest("wanted", 1, lockmgr.Exclusive))
				if (err == nil) != (n > 1000) {
					b.Fatal(err)
				}
				m.Cancel(lockmgr.Time{}, id)
				m.Effects()
			}
		})
	}
}

// One more joins a queue and gives up: a process that holds what nobody else wants, and says whom it descends from.
func BenchmarkWait(b *testing.B) {
	for _, waiters := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(waiters), func(b *testing.B) {
			m := newBench(b)
			m.ask("mine", 1, lockmgr.Exclusive)
			for pid := range waiters + 1 {
				m.ask("backup", 100+pid, lockmgr.Exclusive)
			}
			m.Effects()
			r := benchRequest("backup", 1, lockmgr.Exclusive)
			for pid := range 8 {
				r.Ancestors = append(r.Ancestors, lockmgr.Process{PID: 2 + pid, Start: 98765})
			}
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
