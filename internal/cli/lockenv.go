package cli

import (
	"slices"
	"strings"

	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

// lockEnvironment adds what CMD gets to know of its locks.
func lockEnvironment(env []string, grants []ipc.Hold) []string {
	token := tokenText(grants[0].Token)
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
		if line := inheritance(g); !slices.Contains(locks, line) {
			locks = append(locks, line)
		}
	}
	previous, abandoned := grants[0].Previous, abandonedBy(grants)
	if len(grants) == 1 && had["IPC_LOCK_TOKEN"] == token { // it entered the hold, which began with this
		previous, abandoned = had["IPC_LOCK_PREVIOUS"], had["IPC_LOCK_ABANDONED"]
	}
	return append(kept, "IPC_LOCK="+grants[0].Name, "IPC_LOCK_TOKEN="+token, "IPC_LOCK_PREVIOUS="+previous,
		"IPC_LOCK_ABANDONED="+abandoned, "IPC_LOCKS="+strings.Join(locks, "\n"))
}

// abandonedBy says who was cut off while holding one of these locks, "" if nobody was.
func abandonedBy(grants []ipc.Hold) string {
	if len(grants) == 1 {
		return grants[0].Abandoned
	}
	var all []string
	for _, g := range grants {
		if g.Abandoned != "" {
			all = append(all, printable.Name(g.Name)+" by "+g.Abandoned)
		}
	}
	return strings.Join(all, "; ")
}

// certainlyAbandoned reports whether a holder of one of these locks is known to have been cut off.
func certainlyAbandoned(grants []ipc.Hold) bool {
	return slices.ContainsFunc(grants, func(g ipc.Hold) bool {
		return g.Abandoned != "" && !strings.HasSuffix(g.Abandoned, " unreaped")
	})
}

func namesOf(grants []ipc.Hold) []string {
	var names []string
	for _, g := range grants {
		names = append(names, g.Name)
	}
	return names
}

// inheritance is a hold as a line of IPC_LOCKS.
func inheritance(h ipc.Hold) string { return tokenText(h.Token) + " " + h.Name }

// sayGranted tells what was granted, with -v.
func sayGranted(c *verb.Call, grants []ipc.Hold) {
	if !c.Verbose {
		return
	}
	for _, g := range grants {
		c.Say(describeGrant(g))
	}
	sayMistakable(c, namesOf(grants))
}

// describeGrant is what sayGranted tells.
func describeGrant(grant ipc.Hold) string {
	text := "locked " + printable.Name(grant.Name) + ", token " + tokenText(grant.Token)
	if grant.Previous != "" {
		text += "; the hold before: " + grant.Previous
	}
	if grant.Abandoned != "" {
		text += "; abandoned by " + grant.Abandoned
	}
	return text
}
