package cli

// The headings of the overview, in its order.
var groups = []string{"Messages", "Locks", "The daemon", "ipcctl itself"}

// verbs is the verb table.
func verbs() *table {
	return &table{elsewhere: elsewhere, rows: []row{
		{name: "pub", make: pub}, {name: "sub", make: sub}, {name: "wait", make: wait},
		{name: "lock", make: lock}, {name: "acquire", make: acquire}, {name: "release", make: release},
		{name: "locks", make: locks}, {name: "why", make: why}, {name: "break", make: breakLock}, {name: "hold", make: hold},
		{name: "fence", make: fence}, {name: "once", make: once},
		{name: "status", make: status}, {name: "clients", make: clients}, {name: "raw", make: raw},
		{name: "help", make: help}, {name: "completion", make: completion}, {name: "version", make: versionVerb},
		{name: "__complete", make: complete},
	}}
}

// Verbs is the verb table, without what is hidden.
func Verbs() []*Verb { return verbs().shown() }

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
