package cli

import "github.com/ipcd/ipcd/internal/cli/verb"

// The headings of the overview, in its order.
var groups = []string{"Messages", "Locks", "The daemon", "ipcctl itself"}

// verbs is the verb table.
func verbs() *verb.Table {
	return &verb.Table{Elsewhere: elsewhere, Rows: []verb.Row{
		{Name: "pub", Make: pub}, {Name: "sub", Make: sub}, {Name: "wait", Make: wait}, {Name: "get", Make: get},
		{Name: "topics", Make: topics}, {Name: "clear", Make: clearTopic}, {Name: "request", Make: ask}, {Name: "serve", Make: serve},
		{Name: "lock", Make: lock}, {Name: "acquire", Make: acquire}, {Name: "renew", Make: renew}, {Name: "release", Make: release},
		{Name: "locks", Make: locks}, {Name: "why", Make: why}, {Name: "break", Make: breakLock}, {Name: "hold", Make: hold},
		{Name: "fence", Make: fence}, {Name: "once", Make: once}, {Name: "elect", Make: elect},
		{Name: "status", Make: status}, {Name: "clients", Make: clients}, {Name: "raw", Make: raw},
		{Name: "help", Make: help}, {Name: "completion", Make: completion}, {Name: "version", Make: versionVerb},
		{Name: "__complete", Make: complete}, {Name: "__lock", Make: guarded}, {Name: "__elect", Make: elected},
		{Name: "__scoped", Make: scoped(false)}, {Name: "__lock_scoped", Make: scoped(true)},
	}}
}

// Verbs is the verb table, without what is hidden.
func Verbs() []*verb.Verb { return verbs().Shown() }

// elsewhere are the words that other programs have for what verbs do, where the nearest verb would be another one.
var elsewhere = map[string]string{
	"unlock":    "release",
	"list":      "locks",
	"ls":        "locks",
	"publish":   "pub",
	"subscribe": "sub",
	"kill":      "clients --kill",
	"ping":      "status",
	"info":      "status",
	"reload":    "raw IPCD.RELOAD",
}
