package ipc

import (
	"context"
	"fmt"
	"time"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A LockInfo is what everybody can see of a lock.
type LockInfo struct {
	Name    string
	Mode    string // "exclusive", "shared" or "units"; "" if nobody holds it
	Limit   int    // how many units it has
	Used    int    // how many of them are held
	Holders []ClaimInfo
	Waiters []ClaimInfo // in the order of the queue

	Previous  *EndInfo // how the latest hold ended, nil if that is not known
	Abandoned *EndInfo // the latest abandoned end that the next holder will be told of
}

// A ClaimInfo is one hold, or one request that waits.
type ClaimInfo struct {
	Token  uint64 // 0 while it waits
	Mode   string
	Units  int
	PID    int    // 0 for the hold of an operator, or of a cgroup
	Start  uint64 // when the process started, in clock ticks after boot: with PID it names one process
	Client uint64 // the number of the connection that asked for it last (CLIENT ID), 0 if that was before a restart of the daemon
	UID    int
	Unit   string // systemd unit, "" if none
	Owner  string // its label
	Bound  string // what it ends with: "connection", "process", "cgroup" (whose path is Owner), "lease" or "nobody"
	Joined bool   // it is one more owner of the hold of the same token before it
	Since  time.Time
	Age    time.Duration
	Left   time.Duration // of its lease, or of its wait; NoEnd if it has none
	Set    []string      // the names that were asked for together
	Why    string

	// Stopped is what keeps its process from running: "signal" (SIGSTOP, Ctrl-Z), "debugger" or "freezer" (its cgroup is frozen); ""
	// if nothing does, or the daemon cannot tell. Without names, Locks tells it of those who hold a lock and who is next.
	Stopped string
}

// NoEnd is how much time is left of what does not end by time.
const NoEnd time.Duration = -1

// An EndInfo says how a hold ended.
type EndInfo struct {
	Token uint64
	How   string // as [Hold.Previous]
	PID   int
	UID   int
	Unit  string
	Why   string
	At    time.Time
	By    *PartyInfo // who broke it, nil if nobody did
}

// A PartyInfo is who did something, and why.
type PartyInfo struct {
	PID  int
	UID  int
	Unit string
	Why  string
}

// String names a party as the daemon does: "pid 3977 (uid 0, backup.service): why".
func (p *PartyInfo) String() string {
	var text string
	switch {
	case p.PID == 0:
		text = fmt.Sprintf("uid %d", p.UID)
	case p.Unit != "":
		text = fmt.Sprintf("pid %d (uid %d, %s)", p.PID, p.UID, printable.Escape(p.Unit))
	default:
		text = fmt.Sprintf("pid %d (uid %d)", p.PID, p.UID)
	}
	if p.Why != "" {
		text += ": " + printable.Escape(p.Why)
	}
	return text
}

// Locks shows the locks of these names, or all that are held or waited for.
func (c *Client) Locks(ctx context.Context, names ...string) ([]LockInfo, error) {
	if len(names) == 0 {
		v, err := c.command(ctx, "LOCK.LIST")
		if err != nil {
			return nil, fmt.Errorf("cannot list locks: %w", err)
		}
		infos := make([]LockInfo, len(v.Elems))
		for i := range infos {
			infos[i] = DecodeLockInfo(v.Elems[i])
		}
		return infos, nil
	}
	var infos []LockInfo
	for _, name := range names {
		v, err := c.command(ctx, "LOCK.INFO", name)
		if err != nil {
			return nil, fmt.Errorf("cannot show lock %q: %w", name, err)
		}
		infos = append(infos, DecodeLockInfo(v))
	}
	return infos, nil
}

// DecodeLockInfo decodes a reply of LOCK.INFO, or an element of that of LOCK.LIST.
func DecodeLockInfo(v wire.Value) LockInfo {
	info := LockInfo{
		Name: v.Get("name").Str, Mode: v.Get("mode").Str, Limit: int(v.Get("limit").Int), Used: int(v.Get("used").Int),
		Holders: DecodeClaims(v.Get("holders")), Waiters: DecodeClaims(v.Get("waiters")),
		Previous: endInfo(v.Get("previous")), Abandoned: endInfo(v.Get("abandoned")),
	}
	firstOwners(info.Holders)
	return info
}

// firstOwners makes the first owner that is left of each hold the one whose hold it is: who began it may have ended before those
// who joined him.
func firstOwners(holders []ClaimInfo) {
	shown := make(map[uint64]bool, len(holders))
	for i := range holders {
		h := &holders[i]
		h.Joined = h.Joined && shown[h.Token]
		shown[h.Token] = true
	}
}

// DecodeClaims decodes the claims of a lock, and a reply of LOCK.BREAK: those who held it.
func DecodeClaims(v wire.Value) []ClaimInfo {
	claims := make([]ClaimInfo, len(v.Elems))
	for i, c := range v.Elems {
		claims[i] = ClaimInfo{
			Token: uint64(c.Get("token").Int), Mode: c.Get("mode").Str, Units: int(c.Get("units").Int),
			PID: int(c.Get("pid").Int), Start: uint64(c.Get("start").Int), Client: uint64(c.Get("client").Int), UID: int(c.Get("uid").Int), Unit: c.Get("unit").Str,
			Owner: c.Get("owner").Str, Bound: c.Get("bound").Str, Joined: c.Get("joined").Int == 1,
			Since: time.UnixMicro(c.Get("since").Int), Age: micros(c.Get("age")), Left: left(c.Get("left")), Why: c.Get("why").Str,
			Stopped: c.Get("stopped").Str,
		}
		for _, name := range c.Get("set").Elems {
			claims[i].Set = append(claims[i].Set, name.Str)
		}
	}
	return claims
}

func endInfo(v wire.Value) *EndInfo {
	if v.IsNull() {
		return nil
	}
	end := &EndInfo{
		Token: uint64(v.Get("token").Int), How: v.Get("how").Str, PID: int(v.Get("pid").Int), UID: int(v.Get("uid").Int),
		Unit: v.Get("unit").Str, Why: v.Get("why").Str, At: time.UnixMicro(v.Get("at").Int),
	}
	if by := v.Get("by"); !by.IsNull() {
		end.By = &PartyInfo{PID: int(by.Get("pid").Int), UID: int(by.Get("uid").Int), Unit: by.Get("unit").Str, Why: by.Get("why").Str}
	}
	return end
}

// left is how much time there is until an end that may not come.
func left(v wire.Value) time.Duration {
	if v.IsNull() || v.Int < 0 {
		return NoEnd
	}
	return micros(v)
}

func micros(v wire.Value) time.Duration { return time.Duration(v.Int) * time.Microsecond }

// CheckToken asks whether a token is that of a present hold: what a resource does before it lets the owner of the token
// have its way. If not, the error is [ErrStale] or [ErrNoLock].
func (c *Client) CheckToken(ctx context.Context, name string, t uint64) error {
	if _, err := c.command(ctx, "LOCK.CHECK", name, token(t)); err != nil {
		return fmt.Errorf("cannot pass token %d of %q: %w", t, name, err)
	}
	return nil
}

// ReleaseToken ends the hold that has this token, of whichever process of the same user.
func (c *Client) ReleaseToken(ctx context.Context, name string, t uint64) error {
	if _, err := c.command(ctx, "LOCK.RELEASE", name, token(t)); err != nil {
		return fmt.Errorf("cannot release %q: %w", name, err)
	}
	return nil
}

// Break takes a lock away from all who hold it, tells them, and returns who they were. why is for them and for the log.
func (c *Client) Break(ctx context.Context, name, why string) ([]ClaimInfo, error) {
	words := []string{"LOCK.BREAK", name}
	if why != "" {
		words = append(words, "WHY", why)
	}
	v, err := c.command(ctx, words...)
	if err != nil {
		return nil, fmt.Errorf("cannot break %q: %w", name, err)
	}
	return DecodeClaims(v), nil
}
