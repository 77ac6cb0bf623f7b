package server

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/locks"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
)

// keeping has a server keep the holds of operators on a disk.
func keeping(d disk[record.OperatorHold], holds ...record.OperatorHold) func(*Setup, *Options) {
	return func(s *Setup, _ *Options) { s.Holds, s.SaveHolds = holds, d.save }
}

// TestStanding: an operator's hold is answered when it is on disk, and so is its end.
func TestStanding(t *testing.T) {
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk))
	c, other := h.dial3(), h.dial3()
	c.refused(wire.CodeErr, "neither OWNER nor JOIN", "LOCK.ACQUIRE", "a", "FOR", "nobody", "OWNER", "x")
	c.cmd("LOCK.ACQUIRE", "a", "FOR", "nobody", "WHY", "new disk", "LEASE", "3600000000")
	c.cmd("PING")
	w := disk.next(t, 1)
	if hold := w.rows[0]; hold.Name != "a" || hold.Why != "new disk" || hold.UID != uint32(os.Getuid()) || hold.Units != 1 || hold.Limit != 1 ||
		hold.Lease != 3600000000000 || hold.Expires-hold.Since < 3599999000000 || hold.Expires-hold.Since > 3600001000000 {
		t.Errorf("got %+v", hold)
	}
	c.quiet()
	other.refused(wire.CodeBusy, fmt.Sprintf(`"a" is held by uid %d: new disk`, os.Getuid()), "LOCK.ACQUIRE", "a", "WAIT", "0")
	w.done(nil)
	g := c.granted()
	c.want("+PONG\r\n")
	if g.token != fmt.Sprint(w.rows[0].Token) {
		t.Errorf("got %+v", g)
	}
	holder := other.info("a").Get("holders").Elems[0]
	if holder.Get("bound").Str != "nobody" || holder.Get("pid").Int != 0 || holder.Get("owner").Str != fmt.Sprintf("uid %d", os.Getuid()) {
		t.Errorf("got %+v", holder)
	}
	c.refused(wire.CodeDeadlock, fmt.Sprintf("uid %d holds \"a\" already, with token %s", os.Getuid(), g.token), "LOCK.ACQUIRE", "a", "FOR", "nobody")
	c.close() // it is nobody's
	h.quiesce(other)
	h.claims(1)

	other.cmd("LOCK.RENEW", "a", g.token, "LEASE", "7200000000")
	w = disk.next(t, 1)
	other.quiet()
	w.done(nil)
	other.want(":7200000000\r\n")
	if w.rows[0].Lease != 7200000000000 {
		t.Errorf("got %+v", w.rows)
	}
	other.cmd("LOCK.DOWNGRADE", "a", g.token)
	w = disk.next(t, 1)
	w.done(nil)
	other.want("+OK\r\n")
	if !w.rows[0].Shared || w.rows[0].Units != 0 {
		t.Errorf("got %+v", w.rows)
	}
	other.cmd("LOCK.RELEASE", "a") // by who holds nothing as a process
	w = disk.next(t, 0)
	other.quiet()
	w.done(nil)
	other.want("+OK\r\n")
	other.refused(wire.CodeNoLock, "", "LOCK.RELEASE", "a")

	// It ends with the last who is in it.
	other.cmd("LOCK.ACQUIRE", "a", "FOR", "nobody")
	disk.next(t, 1).done(nil)
	g = other.granted()
	other.acquire("a", "OWNER", "joined", "JOIN", g.token)
	other.cmd("LOCK.RELEASE", "a")
	disk.next(t, 0).done(nil)
	other.want("+OK\r\n")
	other.do("LOCK.CHECK", "a", g.token)
	other.do("LOCK.RELEASE", "a", g.token)
	h.claims(0)

	// Several at once, with a ticket.
	other.cmd("LOCK.ACQUIRE", "b", "AND", "c", "FOR", "nobody", "ASYNC")
	_ = other.value()
	w = disk.next(t, 2)
	other.sync()
	w.done(nil)
	if v := other.value(); v.Elems[0].Str != "done" || len(v.Elems[2].Get("locks").Elems) != 2 {
		t.Errorf("got %+v", v)
	}
	other.cmd("LOCK.BREAK", "b", "PIDFD")
	w = disk.next(t, 1)
	if v := other.value(); v.Kind != wire.KindPush || v.Elems[0].Str != "lock.lost" {
		t.Errorf("got %+v", v)
	}
	other.quiet() // who broke it is answered when that is on disk
	w.done(nil)
	if v := other.value(); len(v.Elems) != 1 || v.Elems[0].Get("pidfd").Int != 0 {
		t.Errorf("got %+v", v)
	}
	h.claims(1)
	disk.none(t)
}

// TestStandingFails: what cannot be kept is not granted, and what cannot be ended is said to come back.
func TestStandingFails(t *testing.T) {
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk))
	c, waiter := h.dial3(), h.dial3()
	c.cmd("LOCK.ACQUIRE", "a", "AND", "b", "FOR", "nobody")
	w := disk.next(t, 2)
	h.queue(waiter, "b")
	w.done(errors.New("the disk is full"))
	c.fails(wire.CodeIO, "the disk is full")
	waiter.granted()
	disk.next(t, 0).done(errors.New("the disk is full"))
	h.claims(1)

	c.cmd("LOCK.ACQUIRE", "a", "FOR", "nobody")
	disk.next(t, 1).done(nil)
	c.granted()
	c.cmd("LOCK.RELEASE", "a")
	disk.next(t, 0).done(errors.New("the disk is full"))
	c.fails(wire.CodeNotKept, "it is done and in force, but not on disk, and will not be so after a reboot: the disk is full")
	h.claims(1)
	if !strings.Contains(h.log.String(), "cannot keep the holds of operators") {
		t.Error("it is not logged")
	}
}

// TestStandingRestored: what was held when the daemon ended is held when it begins, for as long as was said.
func TestStandingRestored(t *testing.T) {
	now := time.Now().UnixMicro()
	const minute = 60e6
	disk := newDisk[record.OperatorHold]()
	holds := []record.OperatorHold{
		{Name: "a", Token: 1000, Units: 1, Limit: 1, UID: uint32(os.Getuid()), GID: 7, Unit: "x.service", Why: "new disk", Since: now - minute},
		{Name: "s", Token: 1001, Shared: true, Limit: 3, UID: 4321, Since: now, Expires: now + minute, Lease: 2 * minute},
		{Name: "s", Token: 999, Shared: true, Limit: 3, UID: 4322, Since: now},
		{Name: "over", Token: 1002, Units: 2, Limit: 3, UID: 4321, Since: now - minute, Expires: now - minute/2, Lease: minute / 2},
	}
	h := start(t, keeping(disk, holds...), func(s *Setup, _ *Options) { s.Token, s.Mark = 500, 500 })
	disk.next(t, 3).done(nil) // one is over
	h.claims(3)
	c := h.dial3()
	holder := c.info("a").Get("holders").Elems[0]
	if age := holder.Get("age").Int; holder.Get("token").Int != 1000 || age < minute || age > 2*minute || holder.Get("since").Int != now-minute ||
		holder.Get("why").Str != "new disk" || holder.Get("unit").Str != "x.service" || holder.Get("left").Int != -1 || holder.Get("gid").Int != 7 {
		t.Errorf("got %+v", holder)
	}
	c.holders("s", "shared", 3, 2, 0)
	if left := c.info("s").Get("holders").Elems[1].Get("left").Int; left > minute || left < minute/2 {
		t.Errorf("%d µs are left", left)
	}
	if v := c.info("over"); v.Get("previous").Get("how").Str != "expired" {
		t.Errorf("got %+v", v)
	}
	if v := c.do("IPCD.STATUS"); v.Get("locks_of_operators").Int != 3 || v.Get("locks_held").Int != 3 {
		t.Errorf("got %+v", v)
	}
	c.cmd("LOCK.RELEASE", "a")
	disk.next(t, 2).done(nil)
	c.want("+OK\r\n")
	if g := c.acquire("a"); len(g.token) < 16 { // above all that were found
		t.Errorf("got %+v", g)
	}
}

// TestStandingOverBeforeBoot: a lease that ended before the machine started ends at once, and what ends by time after it does.
func TestStandingOverBeforeBoot(t *testing.T) {
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk, record.OperatorHold{Name: "a", Token: 1, Units: 1, Limit: 1, UID: 4321, Since: 1, Expires: 5, Lease: 4}))
	disk.next(t, 0).done(nil)
	h.claims(0)
}

// TestStandingQuota: a user has but so many, and those that he waits for count.
func TestStandingQuota(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.LocksPerUser = 2 * locks.MaxOperatorHolds })
	c := h.dial3()
	last := ""
	for i := range locks.MaxOperatorHolds / wire.MaxSet {
		words := []string{"LOCK.ACQUIRE", fmt.Sprint("n", i), "FOR", "nobody"}
		for j := range wire.MaxSet - 1 {
			last = fmt.Sprintf("n%d/%d", i, j)
			words = append(words, "AND", last)
		}
		c.do(words...)
	}
	const text = "locks FOR nobody already"
	c.refused(wire.CodeQuota, text, "LOCK.ACQUIRE", "more", "FOR", "nobody")
	c.do("LOCK.ACQUIRE", "more")
	c.do("LOCK.RELEASE", last)
	h.queue(c, "more", "FOR", "nobody", "WAIT", "60000")
	other := h.dial3()
	other.refused(wire.CodeQuota, text, "LOCK.ACQUIRE", last, "FOR", "nobody")
	c.close()
	h.until("the wait is over", func() bool { return h.figures().Requests == 0 })
	other.do("LOCK.ACQUIRE", last, "FOR", "nobody")
}

// TestStopAnswersWhatIsKept: a daemon that stops waits for the disk, and answers.
func TestStopAnswersWhatIsKept(t *testing.T) {
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk))
	c := h.dial3()
	c.cmd("LOCK.ACQUIRE", "a", "FOR", "nobody")
	c.cmd("ECHO", "x")
	w := disk.next(t, 1)
	h.cancel()
	if v := c.value(); v.Elems[0].Str != "ipcd.goodbye" {
		t.Errorf("got %+v", v)
	}
	w.done(nil)
	c.granted()
	c.want("$1\r\nx\r\n")
	c.eof()
	h.wait()
}

// TestStopAnswersAllThatIsKept: also what is kept while it stops.
func TestStopAnswersAllThatIsKept(t *testing.T) {
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk))
	c := h.dial()
	c.cmd("LOCK.ACQUIRE", "a", "FOR", "nobody")
	c.cmd("LOCK.ACQUIRE", "b", "FOR", "nobody")
	w := disk.next(t, 1)
	h.cancel()
	h.until("it stops", func() bool { return h.set.Stopping })
	w.done(nil)
	c.granted()
	disk.next(t, 2).done(nil)
	c.granted()
	c.eof()
	h.wait()
}

// TestStandingReset: after RESET a connection is told nothing of what it asked for before.
func TestStandingReset(t *testing.T) {
	disk := newDisk[record.OperatorHold]()
	h := start(t, keeping(disk))
	c := h.dial3()
	c.do("LOCK.ACQUIRE", "a", "FOR", "nobody", "ASYNC")
	w := disk.next(t, 1)
	c.cmd("RESET")
	c.want("+RESET\r\n")
	w.done(nil)
	h.until("it is on disk", func() bool { return !h.figures().Saving })
	c.sync()
	h.claims(1)
}
