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
	// maxRetained and maxRetainedBytes are what the journal, of 256 MiB, has room for beside the holds of locks.
	maxRetained      = 100_000
	maxRetainedBytes = 64 << 20
	maxBeside        = 10_000
	maxTotal         = min(1<<40, math.MaxInt) // The latter on machines of 32 bits.
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
		{"limits", "How much clients may use of the daemon.", false, []key{
			{"connections", count{&l.Connections, 1, maxCount},
				"Connections in all. A further one is answered with QUOTA and closed."},
			{"connections_per_user", count{&l.ConnectionsPerUser, 1, maxCount},
				"Connections of one user (uid). Root is exempt, so that it can always look."},
			{"input", size{&l.Input, minBuffer, maxBuffer},
				"Bytes of input that wait for execution, for one connection. A command cannot be larger."},
			{"output", size{&l.Output, minBuffer, maxBuffer},
				"Bytes of output that wait for one connection, because it reads slowly, or in one group of receivers. If there are more, the oldest messages are dropped, or the connection is closed if it uses SUBSCRIBE. At least as much as input."},
			{"arguments", count{&l.Arguments, 16, maxCount},
				"Words of one command. A Redis client that reconnects names all its channels in one SUBSCRIBE, so keep this above their number."},
			{"buffers_per_user", size{&l.BuffersPerUser, minBuffer, maxTotal},
				"Bytes of input and output that wait, for all connections of one user (uid) together. Messages for slow subscribers get at most half of them. At least as much as output. Root is not exempt."},
			{"subscriptions_per_user", count{&l.SubscriptionsPerUser, 1, 100 * maxCount},
				"Subscriptions of one user (uid), all connections and kinds together. One of more than 255 bytes counts as several. " +
					"Root is not exempt."},
			{"patterns_per_user", count{&l.PatternsPerUser, 1, maxCount},
				"Globs (PSUBSCRIBE) of one user (uid). Each of them costs every publisher up to 2 µs. One of more than 255 bytes counts as " +
					"several. Root is not exempt."},
			{"locks_per_user", count{&l.LocksPerUser, 1, maxCount},
				"Locks that one user (uid) holds or waits for, all connections and processes together. Root is not exempt."},
			{"retained", count{&l.Retained, 1, maxRetained},
				"Topics that have a retained value, in all, at most 100000, with the wills that are to be one. One more is refused with QUOTA."},
			{"retained_bytes", size{&l.RetainedBytes, minBuffer, maxRetainedBytes},
				"Bytes of retained values, of wills, and of their topics, in all, at most 64 MiB. They are kept in memory, and twice in the journal, a third longer there."},
			{"retained_per_user", count{&l.RetainedPerUser, 1, maxRetained},
				"Topics whose retained value one user (uid) has published, at most 100000, with the wills of that user that are to be one. Root is not exempt."},
			{"retained_bytes_per_user", size{&l.RetainedBytesPerUser, minBuffer, maxRetainedBytes},
				"Bytes of the retained values that one user (uid) has published, of wills of that user, and of their topics, at most 64 MiB. Root is not exempt."},
			{"requests_per_user", count{&l.RequestsPerUser, 1, maxCount},
				"Requests of one user (uid) that are not answered, all connections together. Root is not exempt."},
			{"wills_per_user", count{&l.WillsPerUser, 1, maxCount},
				"Wills of one user (uid): messages that are published when a connection or a process has ended. Their bytes count as those of retained values, and so do they themselves if they are to be one (RETAIN). Root is not exempt."},
			{"files_per_user", count{&l.FilesPerUser, 1, maxBeside},
				"Files beside messages that wait because connections of one user (uid) read slowly, at most 10000. If there are more, the oldest messages are dropped. Each is an open file of the daemon's. Root is not exempt."},
			{"file_bytes_per_user", size{&l.FileBytesPerUser, minBuffer, maxTotal},
				"Bytes of these files that are in memory, for one user (uid) together. Root is not exempt."},
			{"lease", duration{&l.Lease, time.Millisecond, 100 * 365 * 24 * time.Hour},
				"The longest lease, without being renewed. An operator's (ipcctl hold) may be longer."},
		}},
		{"semaphores", `How many units a lock has: gpu = 4, or "build/slots" = 8. A request that says another limit is refused. ` +
			"A lock that is not listed has the limit that its first request says, or 1. A change waits until the lock is free.",
			false, c.semaphores()},
		{"loop", "The event loop.", false, []key{
			{"busy_poll", duration{&c.Loop.BusyPoll, 0, 10 * time.Millisecond},
				`How long the daemon polls before it sleeps, while messages follow each other closely, at most 10ms. More costs processor time and saves latency. "off": it never polls.`},
		}},
		{"log", "Messages to the journal, or to standard error.", false, []key{
			{"level", level{&c.Log.Level},
				"Log messages from this level up: debug, info, warning or error."},
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
		"A socket to listen on, unless systemd passes one of this name. There may be more: [socket.NAME].",
		true,
		[]key{
			{"path", path{&s.Path}, "An absolute path of at most 107 bytes."},
			{"mode", mode{&s.Mode}, "Who may connect, as octal digits: those who may write to the socket."},
			{"group", group{&s.Group}, `The socket's group, by name or number. "": the daemon's own.`},
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
