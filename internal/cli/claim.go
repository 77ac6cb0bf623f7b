package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// What LOCK.INFO says of a lock is a map, and so is each of its holders and waiters: a claim. Here they are put into words.

func micros(v ipc.Value, key string) time.Duration {
	return time.Duration(v.Get(key).Int) * time.Microsecond
}

// isOperators reports whether a claim is one of hold: it is bound to no process, so nobody but a person ends it.
func isOperators(v ipc.Value) bool { return v.Get("bound").Str == "nobody" }

// has reports whether a claim is that of a process.
func (p process) has(v ipc.Value) bool {
	return v.Get("pid").Int == p.pid && v.Get("start").Int == p.start
}

// describeClaim is whose a claim is: "restic (pid 4121, root, backup.service)", "ann for maintenance until 18:00".
func describeClaim(v ipc.Value) string {
	who, end := userName(v.Get("uid").Int), ending(v)
	if isOperators(v) {
		return strings.TrimSuffix(who+" for maintenance "+end, " ")
	}
	if unit := v.Get("unit").Str; unit != "" {
		who += ", " + unit
	}
	if owner := v.Get("owner").Str; owner != "" {
		who += ", " + shown(owner)
	}
	if end != "" {
		who += ", " + end
	}
	pid := "pid " + v.Get("pid").Text()
	if pid == "pid 0" { // the daemon's namespace has no number for it
		pid = "a process of another PID namespace"
	}
	if command := claimCommand(v); command != "" {
		return command + " (" + pid + ", " + who + ")"
	}
	return pid + " (" + who + ")"
}

// claimCommand is the name of the command that a claim is for: what runs in its process, or, of an ipcctl that waits, what
// will. It is "" if the process is gone.
func claimCommand(v ipc.Value) string {
	pid := v.Get("pid").Int
	command := commandOf(pid, v.Get("start").Int)
	if command == "ipcctl" && v.Get("token").Int == 0 {
		if next := commandAhead(readProc("/proc/" + strconv.FormatInt(pid, 10) + "/cmdline")); next != "" {
			return next
		}
	}
	return command
}

// commandAhead is the name of the CMD of a command line of ipcctl, as /proc shows it; "" if there is none, as with acquire.
func commandAhead(cmdline []byte) string {
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	var c call
	args, err := c.globals.parse(args[1:])
	if err != nil || len(args) == 0 {
		return ""
	}
	if c.verb = find(args[0]); c.verb == nil || c.parse(args[1:]) != nil || len(c.command) == 0 {
		return ""
	}
	return c.command[0][strings.LastIndexByte(c.command[0], '/')+1:]
}

// ending is when a hold ends by itself: "until 18:00"; "" if it does not.
func ending(v ipc.Value) string {
	left := v.Get("left")
	switch {
	case v.Get("token").Int == 0 || left.IsNull() || left.Int < 0: // it waits, or has no lease
		return ""
	case isOperators(v):
		return "until " + clock(time.Now().Add(micros(v, "left")))
	}
	return age(micros(v, "left")) + " left"
}

// shortName is who has a claim, in a word.
func shortName(v ipc.Value) string {
	if isOperators(v) {
		return userName(v.Get("uid").Int)
	}
	if command := claimCommand(v); command != "" {
		return command
	}
	return "pid " + v.Get("pid").Text()
}

// because is the reason of a claim, behind a colon, or "".
func because(v ipc.Value) string {
	if why := v.Get("why").Str; why != "" {
		return ": " + why
	}
	return ""
}

// share is what a claim has, or would have, of a lock with this limit: "exclusive", "shared" or "2 of 4 units".
func share(v ipc.Value, limit int64) string {
	switch letter(v, limit) {
	case "S":
		return "shared"
	case "U":
		return v.Get("units").Text() + " of " + strconv.FormatInt(limit, 10) + " units"
	}
	return "exclusive"
}

// letter is the same in one: X, S or U.
func letter(v ipc.Value, limit int64) string {
	switch {
	case v.Get("mode").Str == "shared":
		return "S"
	case v.Get("units").Int < limit && v.Get("mode").Str != "exclusive":
		return "U"
	}
	return "X"
}

// holdersOf are the claims on a lock that are holds of their own: the first owner of each.
func holdersOf(info ipc.Value) []ipc.Value {
	var holders []ipc.Value
	for _, h := range info.Get("holders").Elems {
		if h.Get("joined").Int == 0 {
			holders = append(holders, h)
		}
	}
	if len(holders) == 0 { // the first has left
		holders = info.Get("holders").Elems
	}
	return holders
}

// describeHolders says since when a lock is held and by whom: "held 4m12s by restic (…): weekly prune". It is "" for a
// lock that nobody holds.
func describeHolders(info ipc.Value) string {
	holders := holdersOf(info)
	if len(holders) == 0 {
		return ""
	}
	text := "held " + age(micros(holders[0], "age")) + " by " + describeClaim(holders[0])
	if len(holders) > 1 {
		text += " and " + strconv.Itoa(len(holders)-1) + " more"
	}
	return text + because(holders[0])
}

// describeQueue is describeHolders, and how many wait: "held 2s by …; 2 wait for it".
func describeQueue(info ipc.Value) string {
	text := describeHolders(info)
	n := len(info.Get("waiters").Elems)
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
func others(v ipc.Value, name string) []string {
	var names []string
	for _, n := range v.Get("set").Elems {
		if n.Str != name {
			names = append(names, n.Str)
		}
	}
	return names
}

// describeEnd says who held a lock and how that ended, "pid 3977" and "was killed by signal 9", and gives the reason of who
// ended it, behind a colon, or "".
func describeEnd(end ipc.Value) (who, how, reason string) {
	who = "pid " + end.Get("pid").Text()
	if end.Get("pid").Int == 0 {
		who = userName(end.Get("uid").Int)
	}
	word, status, _ := strings.Cut(end.Get("how").Str, " ")
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
		if by := end.Get("by"); !by.IsNull() {
			how += " by " + userName(by.Get("uid").Int) + " (pid " + by.Get("pid").Text() + ")"
			reason = because(by)
		}
	case "unreaped":
		how = "has ended, and how is not known before its parent has waited for it"
	default:
		how = "is gone, and how it ended is not known"
	}
	return who, how, reason
}

// clock is a time as one says it today: the date only if it is another day's.
func clock(t time.Time) string {
	if today := time.Now().Format(time.DateOnly); t.Format(time.DateOnly) == today {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}

// ordinal is 1st, 2nd, 3rd, 4th.
func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}
