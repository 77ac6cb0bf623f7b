package config

import (
	"io/fs"
	"log/slog"
	"time"
)

// DefaultPath is the configuration of the system's daemon.
const DefaultPath = "/etc/ipcd/ipcd.toml"

// Config is a valid configuration. The sentences that explain its fields to users are in [Config.tables].
type Config struct {
	// Sockets by name. There is always one named main.
	Sockets map[string]*Socket
	Limits  Limits
	Loop    Loop
	Log     Log

	// Semaphores are how many units locks have, by name; others have 1, or as many as who uses them asks for.
	Semaphores map[string]int

	// Files that it was made of, in this order.
	Files []File
}

// File is a file of the configuration as it was read.
type File struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// Socket is a listening socket that the daemon makes itself, where systemd passes none of that name.
type Socket struct {
	Path string
	Mode fs.FileMode
	// Group is a name, a number in decimal, or "": then the group is left as it is.
	Group string
}

// Limits bound what clients can make the daemon hold. Buffers are in bytes.
type Limits struct {
	Connections          int
	ConnectionsPerUser   int // Root is exempt: it must be able to connect and see who took all the others.
	Input                int
	Output               int // Invariant: at least Input, so that one command's words can be sent back.
	Arguments            int
	SubscriptionsPerUser int
	PatternsPerUser      int
	BuffersPerUser       int // Input and output together. Invariant: at least Output.
	LocksPerUser         int // Holds and waits together. Root is not exempt: nothing else bounds them.
	Retained             int // Values of topics, in all. What they may take at most leaves the journal its room for holds.
	RetainedBytes        int // Of values and their topics, in all.
	RetainedPerUser      int
	RetainedBytesPerUser int
	RequestsPerUser      int // Those that are not answered.
	WillsPerUser         int
	FilesPerUser         int // Those beside messages that wait for receivers.
	FileBytesPerUser     int // Theirs, in memory.

	// Lease is the longest that a lease may last, unless it is an operator's.
	Lease time.Duration
}

// Loop tunes the event loop.
type Loop struct {
	BusyPoll time.Duration // 0: never
}

// Log says what is logged.
type Log struct {
	Level slog.Level
}

// Default is what an empty file means.
func Default() *Config {
	main := newSocket()
	main.Path = "/run/ipcd/ipcd.sock"
	return &Config{
		Sockets: map[string]*Socket{"main": main},
		Limits: Limits{
			Connections:          20_000,
			ConnectionsPerUser:   10_000,
			Input:                1 << 20,
			Output:               8 << 20,
			Arguments:            16_384,
			SubscriptionsPerUser: 100_000,
			PatternsPerUser:      1_000,
			BuffersPerUser:       256 << 20,
			LocksPerUser:         10_000,
			Retained:             50_000,
			RetainedBytes:        32 << 20,
			RetainedPerUser:      10_000,
			RetainedBytesPerUser: 16 << 20,
			RequestsPerUser:      1_000,
			WillsPerUser:         1_000,
			FilesPerUser:         64,
			FileBytesPerUser:     1 << 30,
			Lease:                24 * time.Hour,
		},
		Loop:       Loop{BusyPoll: 50 * time.Microsecond},
		Log:        Log{Level: slog.LevelInfo},
		Semaphores: map[string]int{},
	}
}

// newSocket is a socket of which only the name is known.
func newSocket() *Socket { return &Socket{Mode: 0o660} }
