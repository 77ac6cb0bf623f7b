package cli

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// What LOCK.INFO says of a lock, and of each of its holders and waiters, the claims, is put into words here.

// A claim is a holder or a waiter, and what the daemon said of it, for --json.
type claim struct {
	ipc.ClaimInfo
	raw wire.Value
}

// A lockView is a lock as LOCK.INFO shows it, and what the daemon said, for --json.
type lockView struct {
	ipc.LockInfo
	holders, waiters []claim
	raw              wire.Value
}

// viewOf decodes a reply of LOCK.INFO.
func viewOf(raw wire.Value) *lockView {
	info := ipc.DecodeLockInfo(raw)
	return &lockView{info, withRaw(info.Holders, raw.Get("holders")), withRaw(info.Waiters, raw.Get("waiters")), raw}
}

// claimsOf decodes an array of claims.
func claimsOf(raw wire.Value) []claim { return withRaw(ipc.DecodeClaims(raw), raw) }

func withRaw(infos []ipc.ClaimInfo, raw wire.Value) []claim {
	claims := make([]claim, len(infos))
	for i := range infos {
		claims[i] = claim{infos[i], raw.Elems[i]}
	}
	return claims
}

// viewLock asks the daemon for a lock.
func viewLock(conn *ipc.Conn, name string) (*lockView, error) {
	v, err := conn.Do("LOCK.INFO", name)
	if err != nil {
		return nil, err
	}
	return viewOf(v), nil
}

// tokenText is a token as commands and tables have it.
func tokenText(t uint64) string { return strconv.FormatUint(t, 10) }

// pidText is what a process is called by its number.
func pidText(pid int) string { return "pid " + strconv.Itoa(pid) }

// isOperators reports whether a claim is one of hold: it is bound to no process, so nobody but a person ends it.
func isOperators(c *claim) bool { return c.Bound == "nobody" }

// isGroups reports whether a claim is one of a cgroup: all processes of a unit, mostly.
func isGroups(c *claim) bool { return c.Bound == "cgroup" }

// groupName is what a cgroup is called: its unit, or its path.
func (c *claim) groupName() string {
	if c.Unit != "" {
		return printable.Name(c.Unit)
	}
	return "cgroup " + printable.Name(c.Owner)
}

// user is the name of the claim's user.
func (c *claim) user() string { return process.UserName(int64(c.UID)) }

// of reports whether a claim is that of a process.
func (c *claim) of(p process.Process) bool { return int64(c.PID) == p.PID && int64(c.Start) == p.Start }

// describeClaim is whose a claim is: "restic (pid 4121, root, backup.service)", "ann for maintenance until 18:00".
func describeClaim(c *claim) string {
	who, end := c.user(), ending(c)
	if isOperators(c) {
		return strings.TrimSuffix(who+" for maintenance "+end, " ")
	}
	if c.Unit != "" && !isGroups(c) {
		who += ", " + c.Unit
	}
	if c.Owner != "" && !isGroups(c) {
		who += ", " + printable.Name(c.Owner)
	}
	if end != "" {
		who += ", " + end
	}
	if is := halt(c); is != "" {
		who = is + ", " + who
	}
	if isGroups(c) {
		return c.groupName() + " (" + who + ")"
	}
	pid := pidText(c.PID)
	if c.PID == 0 { // the daemon's namespace has no number for it
		pid = "a process of another PID namespace"
	}
	if command := claimCommand(c); command != "" {
		return command + " (" + pid + ", " + who + ")"
	}
	return pid + " (" + who + ")"
}

// halt says that the process of a claim is kept from running; "" if it is not.
func halt(c *claim) string {
	switch c.Stopped {
	case "":
		return ""
	case "freezer":
		return "frozen"
	case "debugger":
		return "stopped by a debugger"
	}
	return "stopped"
}

// claimCommand is the name of the command that a claim is for: what runs in its process, or, of an ipcctl that waits, what
// will. It is "" if the process is gone.
func claimCommand(c *claim) string {
	command := process.CommandOf(int64(c.PID), int64(c.Start))
	if command == "ipcctl" && c.Token == 0 {
		if next := commandAhead(process.ReadProc("/proc/" + strconv.Itoa(c.PID) + "/cmdline")); next != "" {
			return next
		}
	}
	return command
}

// commandAhead is the name of the CMD of a command line of ipcctl, as /proc shows it; "" if there is none, as with acquire.
func commandAhead(cmdline []byte) string {
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	c := verb.Call{Table: verbs()}
	if c.Parse(args[1:]) != nil || len(c.Command) == 0 {
		return ""
	}
	return c.Command[0][strings.LastIndexByte(c.Command[0], '/')+1:]
}

// ending is when a hold ends by itself: "until 18:00"; "" if it does not.
func ending(c *claim) string {
	switch {
	case c.Token == 0 || c.Left < 0: // it waits, or has no lease
		return ""
	case isOperators(c):
		return "until " + term.Clock(time.Now().Add(c.Left))
	}
	return term.Age(c.Left) + " left"
}

// shortName is who has a claim, in a word.
func shortName(c *claim) string {
	if isOperators(c) {
		return c.user()
	}
	if isGroups(c) {
		return c.groupName()
	}
	if command := claimCommand(c); command != "" {
		return command
	}
	return pidText(c.PID)
}

// lasting is how long a claim has been there: "4m12s", or of an operator's hold, which may be there for days, "since 18:00".
func lasting(c *claim) string {
	if isOperators(c) {
		return "since " + term.Clock(time.Now().Add(-c.Age))
	}
	return term.Age(c.Age)
}

// because is a reason behind a colon, or "".
func because(why string) string {
	if why != "" {
		return ": " + why
	}
	return ""
}

// share is what a claim has, or would have, of a lock with this limit: "exclusive", "shared" or "2 of 4 units".
func share(c *claim, limit int) string {
	switch letter(c, limit) {
	case "S":
		return "shared"
	case "U":
		return strconv.Itoa(c.Units) + " of " + strconv.Itoa(limit) + " units"
	}
	return "exclusive"
}

// letter is the same in one: X, S or U.
func letter(c *claim, limit int) string {
	switch {
	case c.Mode == "shared":
		return "S"
	case c.Units < limit && c.Mode != "exclusive":
		return "U"
	}
	return "X"
}

// holds are the claims on a lock that are holds of their own: the first owner of each.
func (v *lockView) holds() []claim {
	var first []claim
	for _, h := range v.holders {
		if !h.Joined {
			first = append(first, h)
		}
	}
	return first
}

// describeHolders says since when a lock is held and by whom: "held 4m12s by restic (…): weekly prune", "held since 18:00 by root for
// maintenance: new disk". It is "" for a
// lock that nobody holds.
func describeHolders(v *lockView) string {
	holds := v.holds()
	if len(holds) == 0 {
		return ""
	}
	first := &holds[0]
	text := "held " + lasting(first) + " by " + describeClaim(first)
	if len(holds) > 1 {
		text += " and " + strconv.Itoa(len(holds)-1) + " more"
	}
	return text + because(first.Why)
}

// describeQueue is describeHolders, and how many wait: "held 2s by …; 2 wait for it".
func describeQueue(v *lockView) string {
	text := describeHolders(v)
	n := len(v.waiters)
	if n == 0 {
		return text
	}
	if text == "" {
		text = "not free"
	}
	if n == 1 {
		return text + "; 1 waits for it"
	}
	return text + "; " + strconv.Itoa(n) + " wait for it"
}

// others are the other locks of a set that is asked for together.
func others(c *claim, name string) []string {
	return slices.DeleteFunc(slices.Clone(c.Set), func(n string) bool { return n == name })
}

// describeEnd says who held a lock and how that ended, "pid 3977" and "was killed by signal 9", and gives the reason of who
// ended it, behind a colon, or "".
func describeEnd(end *ipc.EndInfo) (who, how, reason string) {
	who = pidText(end.PID)
	if end.PID == 0 {
		who = process.UserName(int64(end.UID))
	}
	word, status, _ := strings.Cut(end.How, " ")
	if end.PID == 0 && end.Unit != "" && word == "unknown" { // of a person's hold it is known
		who = printable.Name(end.Unit)
	}
	switch word {
	case "released":
		how = "gave it back"
	case "exited":
		how = "ended with status " + status
	case "killed":
		how = "was killed by signal " + status
	case "disconnected":
		how = "lost its connection"
	case "expired":
		how = "held it until its lease was over"
	case "broken":
		how = "had it taken away"
		if by := end.By; by != nil {
			how += " by " + process.UserName(int64(by.UID)) + " (" + pidText(by.PID) + ")"
			reason = because(by.Why)
		}
	case "unreaped":
		how = "has ended, and how is not known before its parent has waited for it"
	default:
		how = "is gone, and how it ended is not known"
	}
	return who, how, reason
}
