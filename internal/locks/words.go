package locks

import (
	"fmt"
	"strings"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// What the daemon says about locks: to people, in sentences (who holds it, how it ended, who waits for whom), and to programs, the
// replies of LOCK.ACQUIRE. The words of the command are parsed in acquisition.go.

// inTheWay says who holds a lock, or waits for it before anybody who comes now.
func (s *Service) inTheWay(name string) string {
	first, more, ok := s.locks.Ahead(name)
	if !ok {
		return fmt.Sprintf("nobody holds %q now", name)
	}
	verb := "is held by"
	if first.Token == 0 {
		verb = "is waited for by"
	}
	text := fmt.Sprintf("%q %s %s", name, verb, describeClaim(&first))
	if more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// describeClaim is a claim's owner in words, as in "pid 3977 (uid 0, backup.service): why".
func describeClaim(c *lockmgr.Claim) string {
	return describe(c.Owner.Process, &c.Info) + because(&c.Info)
}

// describe names a process as well as it is known from here, or for a hold that is nobody's process the user: "pid 3977 (uid 0, backup.service)", "uid 0".
func describe(p lockmgr.Process, i *lockmgr.Info) string {
	switch {
	case p.IsGroup() && i.Unit != "":
		return fmt.Sprintf("unit %s (uid %d)", printable.Escape(i.Unit), i.UID)
	case p.IsGroup():
		return fmt.Sprintf("a cgroup (uid %d)", i.UID)
	case p.PID == 0 && p.Start != 0:
		return fmt.Sprintf("a process of another PID namespace (uid %d)", i.UID)
	case p.PID == 0:
		return fmt.Sprintf("uid %d", i.UID)
	case i.Unit != "":
		return fmt.Sprintf("pid %d (uid %d, %s)", p.PID, i.UID, printable.Escape(i.Unit))
	}
	return fmt.Sprintf("pid %d (uid %d)", p.PID, i.UID)
}

func because(i *lockmgr.Info) string {
	if i.Why == "" {
		return ""
	}
	return ": " + printable.Escape(i.Why)
}

// describeEnd is how a hold ended in words, "" for none.
func describeEnd(e *lockmgr.End) string {
	if e == nil {
		return ""
	}
	return describe(e.Owner.Process, &e.Info) + " " + e.String()
}

// describeParty is who broke a hold, and why; "" for nobody.
func describeParty(p *lockmgr.Party) string {
	if p == nil {
		return ""
	}
	return describe(p.Process, &p.Info) + because(&p.Info)
}

// mostSteps is how many steps of a deadlock are told from its beginning, and from its end.
const mostSteps = 4

// describeCycle is a deadlock in words. Who was described already is only named. Of a long one, the steps in the middle are only counted.
func describeCycle(cycle []lockmgr.Step) string {
	if len(cycle) == 1 && cycle[0].Waits.Owner == cycle[0].For.Owner {
		own := &cycle[0].For
		if own.Token == 0 {
			return fmt.Sprintf("%s waits for %q already", named(own), own.Name)
		}
		return fmt.Sprintf("%s holds %q already, with token %d: it would wait for itself", named(own), own.Name, own.Token)
	}
	known := map[lockmgr.Owner]bool{}
	who := func(c *lockmgr.Claim) string {
		if known[c.Owner] {
			return named(c)
		}
		known[c.Owner] = true
		return describe(c.Owner.Process, &c.Info)
	}
	var b strings.Builder
	last := len(cycle) - mostSteps // the first of the last steps
	for i := range cycle {
		if i >= mostSteps && i < last {
			if i == mostSteps {
				fmt.Fprintf(&b, "; %d more wait likewise", last-mostSteps)
			}
			continue
		}
		step := &cycle[i]
		waits, has := "waits", "holds"
		if i == 0 {
			waits = "would wait"
		} else {
			b.WriteString("; ")
		}
		if step.For.Token == 0 {
			has = "waits for before it"
		}
		fmt.Fprintf(&b, "%s %s for %q, which %s %s", who(&step.Waits), waits, step.For.Name, who(&step.For), has)
	}
	if b.Len() == 0 {
		return "waiting would never end"
	}
	return b.String()
}

// named is a claim's owner in short, as in "pid 3977".
func named(c *lockmgr.Claim) string {
	if c.Owner.Process.IsGroup() {
		return describe(c.Owner.Process, &c.Info)
	}
	if c.Owner.Process.PID == 0 {
		return fmt.Sprintf("uid %d", c.UID)
	}
	return fmt.Sprintf("pid %d", c.Owner.Process.PID)
}

// appendGrant is the reply to a request that was granted, and appendGrants that for several locks, of which those of the
// first one stand on top.
func appendGrant(b []byte, p wire.Proto, e *lockmgr.Effect) []byte {
	return appendGranted(p.AppendMap(b, 5), e)
}

func appendGrants(b []byte, p wire.Proto, all []lockmgr.Effect) []byte {
	b = appendGranted(p.AppendMap(b, 6), &all[0])
	b = wire.AppendBulk(b, "locks")
	b = wire.AppendArray(b, len(all))
	for i := range all {
		b = appendGrant(b, p, &all[i])
	}
	return b
}

func appendGranted(b []byte, e *lockmgr.Effect) []byte {
	b = wire.AppendBulk(b, "name")
	b = wire.AppendBulk(b, e.Name)
	b = wire.AppendBulk(b, "token")
	b = wire.AppendInt(b, int64(e.Token))
	b = wire.AppendBulk(b, "mode")
	b = wire.AppendBulk(b, modeOf(&e.Claim, e.Limit))
	b = wire.AppendBulk(b, "previous")
	b = wire.AppendBulk(b, e.Previous.String())
	b = wire.AppendBulk(b, "abandoned")
	return wire.AppendBulk(b, describeEnd(e.Abandoned))
}

// shownProcess is a process as the wire has it: of a cgroup there is no number to show.
func shownProcess(p lockmgr.Process) (pid int64, start int64) {
	if p.IsGroup() {
		return 0, 0
	}
	return int64(p.PID), int64(p.Start)
}

// boundOf is what a hold ends with, in a word.
func boundOf(c *lockmgr.Claim) string {
	if c.Owner.Process.IsGroup() {
		return "cgroup"
	}
	return c.Bind.String()
}

// modeOf is how a claim shares its lock.
func modeOf(c *lockmgr.Claim, limit int) string {
	switch {
	case c.Mode == lockmgr.Shared:
		return "shared"
	case c.Units < limit:
		return "units"
	}
	return "exclusive"
}

func (s *Service) appendTimeout(b []byte, c *lockmgr.Claim) []byte {
	return wire.AppendError(b, wire.CodeTimeout, fmt.Sprintf("timed out after %v; %s", c.Wait, s.inTheWay(s.taken(&c.Request))))
}

func (s *Service) appendCancelled(b []byte) []byte {
	if s.set.Stopping {
		return wire.AppendError(b, wire.CodeShutdown, "the daemon is stopping")
	}
	return wire.AppendError(b, wire.CodeCancelled, "the wait was cancelled")
}
