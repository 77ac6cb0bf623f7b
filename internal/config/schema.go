package config

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// table is one [table] of the file. Its keys are bound to the fields that they set.
type table struct {
	name    string // "limits", "socket.main"
	doc     string
	restart bool // A reload does not carry out a change.
	keys    []key
}

// key is a row of the schema. doc is a sentence for operators: it goes into the annotated file and the manual page.
type key struct {
	name  string
	value value
	doc   string
}

const (
	maxCount  = 1_000_000
	minBuffer = 4 << 10
	maxBuffer = 1 << 30
	maxTotal  = min(1<<40, math.MaxInt) // The latter on machines of 32 bits.
)

// tables is the schema, bound to c: a table for each of its sockets, by name, then the others.
func (c *Config) tables() []table {
	var all []table
	for _, name := range slices.Sorted(maps.Keys(c.Sockets)) {
		all = append(all, c.Sockets[name].table(name))
	}
	return append(all, c.fixedTables()...)
}

// fixedTables are the tables that there are once.
func (c *Config) fixedTables() []table {
	l := &c.Limits
	return []table{
		{"limits", "What clients can make the daemon hold.", false, []key{
			{"connections", count{&l.Connections, 1, maxCount},
				"Connections in all. One more is told QUOTA and closed."},
			{"connections_per_user", count{&l.ConnectionsPerUser, 1, maxCount},
				"Connections of one user (uid). Root is exempt, so that it can always look."},
			{"input", size{&l.Input, minBuffer, maxBuffer},
				"Bytes of input held for one connection until they are executed. So also the largest command."},
			{"output", size{&l.Output, minBuffer, maxBuffer},
				"Bytes of output held for one connection that reads too slowly. Beyond them its oldest messages are dropped. At least as much as input."},
			{"arguments", count{&l.Arguments, 16, maxCount},
				"Words of one command. Redis clients that reconnect name all their channels in one SUBSCRIBE: keep it above what yours subscribe to."},
			{"buffers_per_user", size{&l.BuffersPerUser, minBuffer, maxTotal},
				"Bytes of input and output held for all connections of one user (uid) together; at most half of them for messages that wait for slow subscribers. At least as much as output. Root is not exempt."},
			{"subscriptions_per_user", count{&l.SubscriptionsPerUser, 1, 100 * maxCount},
				"Subscriptions of one user (uid), all connections and kinds together. One whose text has more than 255 bytes counts as several. " +
					"Root is not exempt."},
			{"patterns_per_user", count{&l.PatternsPerUser, 1, maxCount},
				"Globs (PSUBSCRIBE) of one user (uid). Every one costs every publisher time, up to 2 µs. One of more than 255 bytes counts as " +
					"several. Root is not exempt."},
			{"locks_per_user", count{&l.LocksPerUser, 1, maxCount},
				"Locks that one user (uid) holds or waits for, all connections and processes together. Root is not exempt."},
			{"lease", duration{&l.Lease, time.Millisecond, 100 * 365 * 24 * time.Hour},
				"Longest lease: how long a lock may be held by time, without being renewed. Those of operators (ipcctl hold) may be longer."},
		}},
		{"semaphores", `How many units locks have, by name, such as gpu = 4 or "build/slots" = 8. A request for another limit is ` +
			"refused. Other locks have the limit that who first uses them asks for, or 1. A lock that is in use keeps its limit until it is free.",
			false, c.semaphores()},
		{"loop", "The event loop.", false, []key{
			{"busy_poll", duration{&c.Loop.BusyPoll, 0, 10 * time.Millisecond},
				`Longest time that the daemon polls before it sleeps while messages follow each other closely: trades processor time for latency. "off": never.`},
		}},
		{"log", "Messages to the journal, or to standard error.", false, []key{
			{"level", level{&c.Log.Level},
				"The least important messages that are logged: debug, info, warning or error."},
		}},
	}
}

// semaphores are the rows for those that are set.
func (c *Config) semaphores() []key {
	var keys []key
	for _, name := range slices.Sorted(maps.Keys(c.Semaphores)) {
		keys = append(keys, key{name, semaphore{c.Semaphores, name}, "Set by the file."})
	}
	return keys
}

func (s *Socket) table(name string) table {
	return table{
		toml.Key{"socket", name}.String(),
		"A socket to listen on, used where systemd passes none of its name. There may be more: [socket.NAME].",
		true,
		[]key{
			{"path", path{&s.Path}, "Where the socket is: an absolute path of at most 107 bytes."},
			{"mode", mode{&s.Mode}, "Who may connect, as octal digits: connecting needs the permission to write."},
			{"group", group{&s.Group}, `Group of the socket, by name or number. "": the daemon's own.`},
		},
	}
}

// topLevel are the names that may stand in the file before any dot.
var topLevel = func() (names []string) {
	for _, t := range Default().tables() {
		name, _, _ := strings.Cut(t.name, ".")
		names = append(names, name)
	}
	return names
}()

// find returns the key called name.
func (t table) find(name string) (key, bool) {
	i := slices.IndexFunc(t.keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return t.keys[i], true
}
