package account

import (
	"strconv"
	"strings"
)

// A Column is something that users are charged for.
type Column uint8

// The columns. Zero is none.
const (
	Connections Column = iota + 1
	Buffers            // bytes of input and output, of all connections
	Input
	Output
	Subscriptions // of all kinds
	Patterns
	Locks         // holds and waits
	OperatorLocks // those that are bound to nobody
	Marks         // of what was done
	Retained      // values of topics
	RetainedBytes // of them, and of the topics
	Requests      // that are not answered
	Wills
	Files     // beside messages that wait
	FileBytes // of them, in memory
	columns
)

// Limits are how much one user may have, by column.
type Limits [columns]int

// A row is what there is to say of a column.
type row struct {
	name   string // as in "user 1000 is charged for 3 …"
	within Column // what it is a part of

	sparesRoot bool // who has to get in, to look after the others

	// refusal is said to who wants more than the limit: {user} is the uid, {used} what he has, {limit} what he may have. It is
	// empty where nobody is refused anything, as something that is there gives way.
	refusal string
}

var table = [columns]row{
	Connections:   {name: "connections", sparesRoot: true, refusal: "too many connections of this user (limits.connections_per_user)"},
	Buffers:       {name: "bytes of buffers", refusal: "this user's connections hold too much (limits.buffers_per_user)"},
	Input:         {name: "bytes of input", within: Buffers},
	Output:        {name: "bytes of output", within: Buffers},
	Subscriptions: {name: "subscriptions", refusal: "user {user} has {used} subscriptions already (limits.subscriptions_per_user)"},
	Patterns: {name: "patterns", within: Subscriptions,
		refusal: "user {user} has {used} patterns already (limits.patterns_per_user)"},
	Locks: {name: "locks", refusal: "user {user} holds or waits for {used} locks already (limits.locks_per_user)"},
	OperatorLocks: {name: "locks of an operator", within: Locks,
		refusal: "user {user} holds or waits for {used} locks FOR nobody already, of at most {limit}"},
	Marks:         {name: "marks of what was done", refusal: "user {user} has marked {limit} things as done: LOCK.FORGET some"},
	Retained:      {name: "retained values", refusal: "user {user} has {used} retained values already, with the wills that are to be one (limits.retained_per_user)"},
	RetainedBytes: {name: "bytes of retained values", refusal: "user {user} retains {used} bytes already (limits.retained_bytes_per_user)"},
	Requests:      {name: "requests", refusal: "{used} requests of user {user} wait for an answer already (limits.requests_per_user)"},
	Wills:         {name: "wills", refusal: "user {user} has {used} wills already (limits.wills_per_user)"},
	Files:         {name: "files beside messages that wait", refusal: "{used} files beside messages wait for user {user} already (limits.files_per_user)"},
	FileBytes: {name: "bytes of files beside messages that wait",
		refusal: "{used} bytes of files beside messages wait for user {user} already (limits.file_bytes_per_user)"},
}

func (c Column) String() string { return table[c].name }

// An Excess is that a user wants more than he may have.
type Excess struct {
	UID         uint32
	Column      Column
	Used, Limit int
}

// Error is what the user is told.
func (e *Excess) Error() string {
	return strings.NewReplacer("{user}", strconv.FormatUint(uint64(e.UID), 10), "{used}", strconv.Itoa(e.Used),
		"{limit}", strconv.Itoa(e.Limit)).Replace(table[e.Column].refusal)
}
