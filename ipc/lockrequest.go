package ipc

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A LockRequest is what LOCK.ACQUIRE asks for. [Client.Lock] makes its own from options; this is for programs that send the command
// themselves, over a [Conn] or by another client of Redis.
type LockRequest struct {
	Names  []string // at least one; of several, all are granted in one moment
	Owner  string   // the label of one of several owners in this process
	Mode   string   // "shared", "exclusive" (all units) or "units"; "" is one unit: all there is, unless the lock has a limit
	Units  int      // with the mode "units"
	Limit  int      // how many units the lock has; 0: whatever it has
	For    string   // "self", "pid", "nobody", a number or the path of a cgroup; "": the connection, or with a lease nothing
	Leased bool     // the hold ends after Lease
	Lease  time.Duration
	Shown  []Hold // on whose behalf it is asked for; only the name and the token count
	Join   uint64 // the token of a hold to become one more owner of; 0: none
	Untold bool   // an abandoned hold that it is told of stays so until LOCK.TOLD
	Why    string
	Waits  bool // no longer than Wait, of which 0 is not at all; else as long as it takes
	Wait   time.Duration
	Async  bool   // answer with a ticket if it has to wait
	ID     string // REQID; "": none
}

// Words are the command.
func (r *LockRequest) Words() []string {
	words := []string{"LOCK.ACQUIRE", r.Names[0]}
	option := func(set bool, option ...string) {
		if set {
			words = append(words, option...)
		}
	}
	option(r.Owner != "", "OWNER", r.Owner)
	for _, name := range r.Names[1:] {
		option(true, "AND", name)
	}
	option(r.Mode != "", strings.ToUpper(r.Mode))
	option(r.Mode == "units", strconv.Itoa(r.Units))
	option(r.Limit > 0, "LIMIT", strconv.Itoa(r.Limit))
	option(r.For != "", "FOR", r.For)
	option(r.Leased, "LEASE", milliseconds(r.Lease))
	for i := range r.Shown {
		option(true, "WITH", token(r.Shown[i].Token), r.Shown[i].Name)
	}
	option(r.Join > 0, "JOIN", token(r.Join))
	option(r.Untold, "UNTOLD")
	option(r.Why != "", "WHY", r.Why)
	option(r.Waits, "WAIT", milliseconds(r.Wait))
	option(r.Async, "ASYNC")
	option(r.ID != "", "REQID", r.ID)
	return words
}

// InheritedHolds are the holds under which "ipcctl lock" started this process, from its environment: IPC_LOCKS, a line "TOKEN NAME"
// for each. What is none is left out, and of more than may be shown in a request the oldest.
func InheritedHolds() []Hold {
	var holds []Hold
	for line := range strings.SplitSeq(os.Getenv("IPC_LOCKS"), "\n") {
		number, name, _ := strings.Cut(line, " ")
		if t, err := strconv.ParseUint(number, 10, 53); err == nil && t > 0 && name != "" {
			holds = append(holds, Hold{Name: name, Token: t})
		}
	}
	return holds[max(0, len(holds)-wire.MaxShown):]
}

// Holds decodes a reply of LOCK.ACQUIRE: the hold on each name, in the order in which they were asked for.
func Holds(reply wire.Value) []Hold {
	several := reply.Get("locks").Elems
	if len(several) == 0 {
		several = []wire.Value{reply}
	}
	holds := make([]Hold, len(several))
	for i, v := range several {
		holds[i] = hold(v)
	}
	return holds
}

func hold(v wire.Value) Hold {
	return Hold{
		Name: v.Get("name").Str, Token: uint64(v.Get("token").Int), Mode: v.Get("mode").Str,
		Previous: v.Get("previous").Str, Abandoned: v.Get("abandoned").Str,
	}
}

func token(t uint64) string { return strconv.FormatUint(t, 10) }

// milliseconds rounds up: to wait a little is not to try.
func milliseconds(d time.Duration) string {
	ms := d / time.Millisecond
	if d%time.Millisecond > 0 {
		ms++
	}
	return strconv.FormatInt(int64(ms), 10)
}
