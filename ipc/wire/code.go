package wire

import "strings"

// A Code is the first word of an error reply: "-BUSY backup is held by …". Programs decide by the code; the text after
// it is for people and may change. Codes are only ever added.
type Code string

// The codes, in the order of [Codes].
const (
	CodeErr          Code = "ERR"
	CodeBadName      Code = "BADNAME"
	CodeNotFound     Code = "NOTFOUND"
	CodeNoResponders Code = "NORESPONDERS"
	CodeShutdown     Code = "SHUTDOWN"
	CodeInternal     Code = "INTERNAL"
	CodeIO           Code = "IOERR"
	CodeBusy         Code = "BUSY"
	CodeProto        Code = "PROTO"
	CodeNoProto      Code = "NOPROTO"
	CodeDenied       Code = "DENIED"
	CodeConfig       Code = "CONFIG"
	CodeQuota        Code = "QUOTA"
	CodeDeadlock     Code = "DEADLOCK"
	CodeNoLock       Code = "NOLOCK"
	CodeStale        Code = "STALE"
	CodeCancelled    Code = "CANCELLED"
	CodeTimeout      Code = "TIMEOUT"
	CodeLimit        Code = "LIMIT"
	CodeNotKept      Code = "NOTKEPT"
	CodeExecAbort    Code = "EXECABORT"
	CodeRemote       Code = "REMOTE"
)

// CodeInfo is one row of the code table.
type CodeInfo struct {
	Code    Code
	Summary string // what it means, one line
	Exit    int    // the exit status of an ipcctl that gives up because of it
	Closes  bool   // the daemon closes the connection after it
	Retry   bool   // the same command may succeed later, unchanged
}

// Codes is the code table. It is append-only: a code keeps its meaning and its exit status for ever.
var Codes = []CodeInfo{
	{CodeErr, "the command or its arguments are wrong", 64, false, false},
	{CodeBadName, "a topic, filter or lock name is not valid", 65, false, false},
	{CodeNotFound, "what the command names does not exist", 66, false, false},
	{CodeNoResponders, "nobody is there to answer the request", 67, false, true},
	{CodeShutdown, "the daemon is stopping", 69, true, true},
	{CodeInternal, "a bug in the daemon", 70, false, false},
	{CodeIO, "the daemon cannot read or write its files", 74, false, true},
	{CodeBusy, "the lock is held or waited for, and the request would not wait; or who could answer takes no more requests, or a receiver would miss the message", 75, false, true},
	{CodeProto, "what was sent beside the commands breaks the protocol", 76, true, false},
	{CodeNoProto, "HELLO asked for a protocol version that is not spoken here", 76, false, false},
	{CodeDenied, "not allowed for this user", 77, false, false},
	{CodeConfig, "the configuration was rejected; the running one is kept", 78, false, false},
	{CodeQuota, "a limit is reached", 79, false, true},
	{CodeDeadlock, "waiting would never end", 80, false, false},
	{CodeNoLock, "the lock is not held", 82, false, false},
	{CodeStale, "the token is not that of a present hold, or the request waits for no answer of this connection", 82, false, false},
	{CodeCancelled, "the wait was cancelled by the one who waited", 130, false, false},
	{CodeTimeout, "the time to wait is over", 124, false, true},
	{CodeLimit, "the request does not fit the number of units that the lock has", 65, false, false},
	{CodeNotKept, "it is done and in force, but the daemon cannot write its files: after a reboot it will be as it was before", 74, false, false},
	{CodeExecAbort, "nothing of the transaction was executed, as one of its commands was refused before EXEC", 64, false, false},
	{CodeRemote, "who was to answer the request has answered with an error, or is gone", 84, false, false},
}

// Info is the row of c; a code that this version does not know is treated as ERR.
func (c Code) Info() CodeInfo {
	for _, row := range Codes {
		if row.Code == c {
			return row
		}
	}
	return Codes[0]
}

// An Error is an error reply of the daemon.
type Error struct {
	Code Code
	Text string // without the code
}

// Error gives the reply as it was on the wire, code first.
func (e *Error) Error() string {
	if e.Text == "" {
		return string(e.Code)
	}
	return string(e.Code) + " " + e.Text
}

// Is reports whether target is an *Error of the same code, so that errors.Is(err, ipc.ErrBusy) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Text == ""
}

// parseError splits the line of an error reply. A first word that is no code (lower case) belongs to the text.
func parseError(line string) *Error {
	code, text, _ := strings.Cut(line, " ")
	if code == "" || strings.ToUpper(code) != code {
		return &Error{Code: CodeErr, Text: line}
	}
	return &Error{Code: Code(code), Text: text}
}
