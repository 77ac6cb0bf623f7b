package lockmgr

import (
	"cmp"
	"container/heap"
	"math"
	"time"
)

// never is the deadline of what does not end by time.
const never = time.Duration(math.MaxInt64)

// saturated is a later time; one that is further away than can be counted is never.
func saturated(now, later time.Duration) time.Duration {
	if end := now + later; end >= now {
		return end
	}
	return never
}

// waitEnds gives the end of a wait.
func waitEnds(since Time, wait time.Duration) time.Duration {
	if wait < 0 {
		return never
	}
	return saturated(since.Boot, wait)
}

// leaseEnds gives the end of a lease, which is one: never is kept for what has none.
func leaseEnds(now Time, lease time.Duration) time.Duration {
	return min(saturated(now.Boot, lease), never-1)
}

// The owner of a lease is warned when a third of it is left, but not earlier than it takes to act on that.
const (
	warnPart = 3
	warnMost = 30 * time.Second
)

func warnAt(c *claim) time.Duration {
	return max(c.Expires-min(c.Lease/warnPart, warnMost), 0)
}

// deadlines are the waits that do not wait for ever and the leases, as a heap: the soonest first, and of one moment the
// one that asked first, so that the order of what happens never depends on the heap's history.
type deadlines []*claim

func (d *deadlines) add(c *claim) {
	if c.deadline != never {
		heap.Push(d, c)
	}
}

func (d *deadlines) remove(c *claim) {
	if c.deadline != never {
		heap.Remove(d, c.heapAt)
	}
}

// move changes a deadline. Neither the old one nor the new one may be never.
func (d *deadlines) move(c *claim, to time.Duration) {
	c.deadline = to
	heap.Fix(d, c.heapAt)
}

// Len, Less, Swap, Push and Pop are for container/heap.

func (d deadlines) Len() int { return len(d) }

func (d deadlines) Less(i, j int) bool {
	a, b := d[i], d[j]
	return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Token, b.Token)) < 0
}

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heapAt, d[j].heapAt = i, j
}

func (d *deadlines) Push(x any) {
	c := x.(*claim)
	c.heapAt = len(*d)
	*d = append(*d, c)
}

func (d *deadlines) Pop() any {
	last := len(*d) - 1
	c := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return c
}
