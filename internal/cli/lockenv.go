package cli

import (
	"slices"
	"strings"

	"github.com/ipcd/ipcd/ipc"
)

// lockEnvironment adds what CMD gets to know of its locks.
func lockEnvironment(env []string, grants []ipc.Value) []string {
	token := grants[0].Get("token").Text()
	had := map[string]string{} // what this process got to know itself
	kept := make([]string, 0, len(env)+5)
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		switch key {
		case "IPC_LOCK", "IPC_LOCK_TOKEN", "IPC_LOCK_PREVIOUS", "IPC_LOCK_ABANDONED", "IPC_LOCKS":
			had[key] = value
		default:
			kept = append(kept, e)
		}
	}
	locks := strings.FieldsFunc(had["IPC_LOCKS"], func(r rune) bool { return r == '\n' })
	for _, g := range grants {
		if line := g.Get("token").Text() + " " + g.Get("name").Str; !slices.Contains(locks, line) {
			locks = append(locks, line)
		}
	}
	previous, abandoned := grants[0].Get("previous").Str, abandonedBy(grants)
	if len(grants) == 1 && had["IPC_LOCK_TOKEN"] == token { // it entered the hold, which began with this
		previous, abandoned = had["IPC_LOCK_PREVIOUS"], had["IPC_LOCK_ABANDONED"]
	}
	return append(kept, "IPC_LOCK="+grants[0].Get("name").Str, "IPC_LOCK_TOKEN="+token, "IPC_LOCK_PREVIOUS="+previous,
		"IPC_LOCK_ABANDONED="+abandoned, "IPC_LOCKS="+strings.Join(locks, "\n"))
}

// abandonedBy says who was cut off while holding one of these locks, "" if nobody was.
func abandonedBy(grants []ipc.Value) string {
	if len(grants) == 1 {
		return grants[0].Get("abandoned").Str
	}
	var all []string
	for _, g := range grants {
		if who := g.Get("abandoned").Str; who != "" {
			all = append(all, shown(g.Get("name").Str)+" by "+who)
		}
	}
	return strings.Join(all, "; ")
}

// certainlyAbandoned reports whether a holder of one of these locks is known to have been cut off.
func certainlyAbandoned(grants []ipc.Value) bool {
	return slices.ContainsFunc(grants, func(g ipc.Value) bool {
		who := g.Get("abandoned").Str
		return who != "" && !strings.HasSuffix(who, " unreaped")
	})
}

func namesOf(grants []ipc.Value) []string {
	var names []string
	for _, g := range grants {
		names = append(names, g.Get("name").Str)
	}
	return names
}

// describeGrant is what -v tells.
func describeGrant(grant ipc.Value) string {
	text := "locked " + shown(grant.Get("name").Str) + ", token " + grant.Get("token").Text()
	if previous := grant.Get("previous").Str; previous != "" {
		text += "; the hold before: " + previous
	}
	if abandoned := grant.Get("abandoned").Str; abandoned != "" {
		text += "; abandoned by " + abandoned
	}
	return text
}
