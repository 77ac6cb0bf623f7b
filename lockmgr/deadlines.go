package lockmgr

import (
	"container/heap"
	"math"
	"time"
)

// never is the deadline of a claim that waits as long as it takes.
const never = time.Duration(math.MaxInt64)

// deadlines are the waiting claims that do not wait for ever, as a heap: the soonest first, and of one moment the one
// that asked first, so that the order of what happens never depends on the heap's history.
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

// Len, Less, Swap, Push and Pop are for container/heap.

func (d deadlines) Len() int { return len(d) }

func (d deadlines) Less(i, j int) bool {
	if d[i].deadline != d[j].deadline {
		return d[i].deadline < d[j].deadline
	}
	return d[i].ID < d[j].ID
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
