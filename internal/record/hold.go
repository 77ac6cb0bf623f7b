package record

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A Hold is one that needs no connection, and so outlives the daemon.
type Hold struct {
	Claim   lockmgr.Claim // as it is held: nothing of the request that it was remains, nor of its connection
	Limit   int           // of the lock
	Command *Command      // nil: it had no REQID
}

// A Command is the one with a REQID that a hold was granted to. Its sender may not have been answered when the daemon ended, and
// repeats it.
type Command struct {
	ID       string // whatever its sender chose, which may be no text
	UID      uint32
	Process  lockmgr.Process
	Hash     uint64       // tells it from other commands
	Names    []string     // all locks that it was for, in the order of the answer
	Previous *lockmgr.End // what was told of this one
}

// NewHold is the record of a hold.
func NewHold(c lockmgr.Claim, limit int, command *Command) *Hold {
	r := &c.Request
	r.Set, r.Limit, r.Conn, r.Wait, r.Join, r.Shown, r.Ancestors = nil, 0, 0, 0, 0, nil, nil
	return &Hold{c, limit, command}
}

func (h *Hold) subject() Subject {
	return Subject{Kind: KindHold, Lock: h.Claim.Name, Owner: h.Claim.Owner}
}
func (h *Hold) append(b []byte) []byte { return appendFields(b, holdFields, h) }
func (h *Hold) join(s *State)          { s.Holds = append(s.Holds, h) }

var holdFields = slices.Concat(
	[]field[Hold]{
		text("lock", func(h *Hold) *string { return &h.Claim.Name }),
		number("limit", func(h *Hold) *int { return &h.Limit }),
	},
	of(ownerFields, func(h *Hold) *lockmgr.Owner { return &h.Claim.Owner }),
	[]field[Hold]{
		word("mode", modes, func(h *Hold) *lockmgr.Mode { return &h.Claim.Mode }),
		word("bind", bindings, func(h *Hold) *lockmgr.Binding { return &h.Claim.Bind }),
		number("units", func(h *Hold) *int { return &h.Claim.Units }),
		number("id", func(h *Hold) *lockmgr.RequestID { return &h.Claim.ID }),
		number("token", func(h *Hold) *lockmgr.Token { return &h.Claim.Token }),
		number("entries", func(h *Hold) *int { return &h.Claim.Entries }),
		truth("joined", func(h *Hold) *bool { return &h.Claim.Joined }),
		truth("untold", func(h *Hold) *bool { return &h.Claim.Untold }),
		number("since", func(h *Hold) *time.Duration { return &h.Claim.Since.Boot }),
		number("since-real", func(h *Hold) *int64 { return &h.Claim.Since.Real }),
		number("lease", func(h *Hold) *time.Duration { return &h.Claim.Lease }),
		number("expires", func(h *Hold) *time.Duration { return &h.Claim.Expires }),
	},
	of(infoFields, func(h *Hold) *lockmgr.Info { return &h.Claim.Info }),
	[]field[Hold]{
		group("told", &endFields, func(h *Hold) **lockmgr.End { return &h.Claim.Told }),
		group("command", &commandFields, func(h *Hold) **Command { return &h.Command }),
	},
)

var commandFields = slices.Concat(
	[]field[Command]{
		text("reqid", func(c *Command) *string { return &c.ID }),
		number("hash", func(c *Command) *uint64 { return &c.Hash }),
		number("uid", func(c *Command) *uint32 { return &c.UID }),
	},
	of(processFields, func(c *Command) *lockmgr.Process { return &c.Process }),
	[]field[Command]{
		texts("names", func(c *Command) *[]string { return &c.Names }),
		group("previous", &endFields, func(c *Command) **lockmgr.End { return &c.Previous }),
	},
)

// isGroup reports whether an owner is a cgroup, whose label is its path. (Of version 1 there are none.)
func isGroup(o *lockmgr.Owner) bool {
	return o.Process.IsGroup() && o.Process.Start != 0 && strings.HasPrefix(o.Label, "/")
}

func (h *Hold) check() error {
	c := &h.Claim
	least, most := 1, h.Limit // units
	if c.Mode == lockmgr.Shared {
		least, most = 0, 0
	}
	switch {
	case c.ID == 0 || c.Token == 0 || c.Token > lockmgr.MaxToken:
		return fmt.Errorf("no token: %d", c.Token)
	case c.Bind == lockmgr.ToConnection || c.Bind > lockmgr.ToNobody || c.Bind == lockmgr.ToProcess && c.Owner.Process.PID <= 0 && !isGroup(&c.Owner) ||
		c.Bind == lockmgr.ToNobody && c.Owner != Operator(c.UID):
		return fmt.Errorf("it ends with its %v, which is %v", c.Bind, c.Owner)
	case h.Limit < 1 || h.Limit > wire.MaxUnits || c.Units < least || c.Units > most || c.Mode > lockmgr.Shared:
		return fmt.Errorf("%d of %d units, %v", c.Units, h.Limit, c.Mode)
	case c.Entries < 1 || c.Lease < 0 || c.Expires < 0 || (c.Expires == 0) != (c.Lease == 0):
		return fmt.Errorf("%d entries, a lease of %v, until %v", c.Entries, c.Lease, c.Expires)
	case c.Conn != 0 || c.Set != nil || c.Shown != nil || c.Ancestors != nil || c.Join != 0:
		return errors.New("it is a request")
	}
	return checkLock(c.Name)
}
