package exit

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A Status is an exit status of ipcctl. Scripts decide by it, so a number keeps its meaning for ever.
type Status struct {
	Code    int
	Name    string
	Meaning string
}

// Statuses is the table of exit statuses. Those for what the daemon answers are in wire.Codes too, which picks them.
var Statuses = []Status{
	{0, "", "done"},
	{No, "NO", "the answer is no"},
	{Usage, "USAGE", "the command line, or a command to the daemon, cannot be parsed"},
	{Data, "BADNAME", "a name or other data is not valid, or the request does not fit the lock's limit"},
	{NotFound, "NOTFOUND", "there is no such client, process or file"},
	{NoResponders, "NORESPONDERS", "nobody is there to answer"},
	{exitUnreachable, "UNREACHABLE", "no daemon answers, or it went away"},
	{Internal, "INTERNAL", "a bug in ipcd or ipcctl"},
	{OS, "OSERR", "a system call failed"},
	{IO, "IOERR", "reading or writing failed"},
	{Busy, "BUSY", "it would have to wait for a lock, a responder or a receiver, and is not to"},
	{Proto, "PROTO", "daemon and ipcctl do not understand each other"},
	{Denied, "DENIED", "not allowed"},
	{Config, "CONFIG", "the configuration was rejected; the running one is kept"},
	{Quota, "QUOTA", "a limit is reached"},
	{Deadlock, "DEADLOCK", "waiting would never end"},
	{Abandoned, "ABANDONED", "the holder before was cut off, and --on-abandoned says not to go on"},
	{NoLock, "NOLOCK", "the lock is not held, or not by that token"},
	{Short, "SHORT", "fewer receivers than --expect asks for, or fewer answers than -n"},
	{Remote, "REMOTE", "the responder has answered with an error, or is gone"},
	{Timeout, "TIMEOUT", "the time to wait is over, that of -w or --may-block"},
	{NoExec, "NOEXEC", "CMD cannot be executed"},
	{NoCmd, "NOCMD", "CMD is not found"},
}

// Common are the statuses that every verb may give; CommonDaemon those that every verb may give that asks the daemon.
var (
	Common       = []int{0, Usage, Internal, OS, IO}
	CommonDaemon = []int{exitUnreachable, Proto, Denied, Quota}
)

// The statuses by what they are called in the table.
const (
	No              = 1
	Usage           = 64
	Data            = 65
	NotFound        = 66
	NoResponders    = 67
	exitUnreachable = 69
	Internal        = 70
	OS              = 71
	IO              = 74
	Busy            = 75
	Proto           = 76
	Denied          = 77
	Config          = 78
	Quota           = 79
	Deadlock        = 80
	Abandoned       = 81
	NoLock          = 82
	Short           = 83
	Remote          = 84
	Timeout         = 124
	NoExec          = 126
	NoCmd           = 127
)

// Find is the row of an exit status, or nil.
func Find(code int) *Status {
	for i := range Statuses {
		if Statuses[i].Code == code {
			return &Statuses[i]
		}
	}
	return nil
}

// A Failure is an error that knows its exit status.
type Failure struct {
	Text string // "cannot X: cause"
	Hint string // what may help; "": nothing known
	Exit int
	Name string // of the failure, in capitals

	cause error
}

func (f *Failure) Error() string { return f.Text }

// Unwrap gives what it is made of, or nil.
func (f *Failure) Unwrap() error { return f.cause }

// Fail makes a failure with this exit status.
func Fail(status int, text string) *Failure {
	f := &Failure{Text: text, Exit: status, Name: strconv.Itoa(status)}
	if s := Find(status); s != nil {
		f.Name = s.Name
	}
	return f
}

// With adds what may help.
func (f *Failure) With(hint string) *Failure {
	f.Hint = hint
	return f
}

// Of keeps the error that it is made of.
func (f *Failure) Of(cause error) *Failure {
	f.cause = cause
	return f
}

// Cannot makes a failure of an error that came while doing what. One that is a failure already stays what it is.
func Cannot(what string, err error) *Failure {
	f := cannot(what, err)
	if f != err {
		f.cause = err
	}
	return f
}

func cannot(what string, err error) *Failure {
	var (
		known *Failure
		reply *ipc.Error
		dial  *ipc.DialError
		proto *wire.ProtoError
	)
	text := "cannot " + what + ": "
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &reply):
		if reply.Code == wire.CodeNotKept {
			text = what + ": " // it could
		}
		f := Fail(reply.Code.Info().Exit, text+toldOf(what, reply.Text))
		f.Name = string(reply.Code)
		return f
	case errors.As(err, &dial) && outOfDescriptors(err):
		return Fail(OS, dial.Error())
	case errors.As(err, &dial):
		return Fail(exitUnreachable, dial.Error()).With(dial.Hint())
	case errors.As(err, &proto):
		return Fail(Proto, text+err.Error())
	case errors.Is(err, ipc.ErrClosed):
		return Fail(exitUnreachable, text+err.Error())
	}
	return Fail(OS, text+err.Error())
}

// toldOf is what the daemon says, without the name that it begins with if what ends with that: it need not be told twice.
func toldOf(what, text string) string {
	lead, err := strconv.QuotedPrefix(text)
	if err != nil {
		return text
	}
	name, _ := strconv.Unquote(lead) // it is quoted
	before, ok := strings.CutSuffix(what, " "+printable.Name(name))
	if !ok || strings.HasSuffix(before, " and") { // one of several
		return text
	}
	if rest, ok := strings.CutPrefix(text[len(lead):], ": "); ok {
		return rest
	}
	return "it" + text[len(lead):]
}

// outOfDescriptors reports whether an error is about this process and machine, not about what was to be opened.
func outOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// CommandStatus is the status of a CMD that failed, which ipcctl passes on without a word.
type CommandStatus int

func (s CommandStatus) Error() string { return "CMD ended with status " + strconv.Itoa(int(s)) }

// Unparsed is the failure of a command line.
func Unparsed(what, why string) *Failure {
	return Fail(Usage, "cannot parse "+what+": "+why)
}

// Reason is an error without what it was about.
func Reason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
