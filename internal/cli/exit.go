package cli

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

// A Status is an exit status of ipcctl. Scripts decide by it, so a number keeps its meaning for ever.
type Status struct {
	Code    int
	Name    string
	Meaning string
}

// Statuses is the table of exit statuses. Those for what the daemon answers are in ipc.Codes too, which picks them.
var Statuses = []Status{
	{0, "", "done"},
	{exitUsage, "USAGE", "the command line, or a command to the daemon, cannot be parsed"},
	{exitData, "BADNAME", "a name or other data is not valid, or the request does not fit the lock's limit"},
	{exitNotFound, "NOTFOUND", "there is no such client, process or file"},
	{exitNoResponders, "NORESPONDERS", "nobody is there to answer"},
	{exitUnreachable, "UNREACHABLE", "no daemon answers, or it went away"},
	{exitInternal, "INTERNAL", "a bug in ipcd or ipcctl"},
	{exitOS, "OSERR", "a system call failed"},
	{exitIO, "IOERR", "reading or writing failed"},
	{exitBusy, "BUSY", "the lock is held or waited for, and -n says not to wait"},
	{exitProto, "PROTO", "daemon and ipcctl do not understand each other"},
	{exitDenied, "DENIED", "not allowed"},
	{exitConfig, "CONFIG", "the configuration was rejected; the running one is kept"},
	{exitQuota, "QUOTA", "a limit is reached"},
	{exitDeadlock, "DEADLOCK", "waiting would never end"},
	{exitAbandoned, "ABANDONED", "the holder before was cut off, and --on-abandoned says not to go on"},
	{exitNoLock, "NOLOCK", "the lock is not held, or not by that token"},
	{exitShort, "SHORT", "fewer receivers than --expect asks for"},
	{exitTimeout, "TIMEOUT", "the time that -w gives is over"},
	{exitNoExec, "NOEXEC", "CMD cannot be executed"},
	{exitNoCmd, "NOCMD", "CMD is not found"},
}

// Common are the statuses that every verb may give; CommonDaemon those that every verb may give that asks the daemon.
var (
	Common       = []int{0, exitUsage, exitInternal, exitOS, exitIO}
	CommonDaemon = []int{exitUnreachable, exitProto, exitDenied, exitQuota}
)

const (
	exitUsage        = 64
	exitData         = 65
	exitNotFound     = 66
	exitNoResponders = 67
	exitUnreachable  = 69
	exitInternal     = 70
	exitOS           = 71
	exitIO           = 74
	exitBusy         = 75
	exitProto        = 76
	exitDenied       = 77
	exitConfig       = 78
	exitQuota        = 79
	exitDeadlock     = 80
	exitAbandoned    = 81
	exitNoLock       = 82
	exitShort        = 83
	exitTimeout      = 124
	exitNoExec       = 126
	exitNoCmd        = 127
)

// FindStatus is the row of an exit status, or nil.
func FindStatus(code int) *Status {
	for i := range Statuses {
		if Statuses[i].Code == code {
			return &Statuses[i]
		}
	}
	return nil
}

// A failure is an error that knows its exit status.
type failure struct {
	text string // "cannot X: cause"
	hint string // what may help; "": nothing known
	exit int
	name string // of the failure, in capitals
}

func (f *failure) Error() string { return f.text }

func fail(exit int, text string) *failure {
	f := &failure{text: text, exit: exit, name: strconv.Itoa(exit)}
	if s := FindStatus(exit); s != nil {
		f.name = s.Name
	}
	return f
}

func (f *failure) with(hint string) *failure {
	f.hint = hint
	return f
}

// cannot makes a failure of an error that came while doing what.
func cannot(what string, err error) *failure {
	var (
		known *failure
		reply *ipc.Error
		dial  *ipc.DialError
		proto *ipc.ProtoError
	)
	text := "cannot " + what + ": "
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &reply):
		if reply.Code == ipc.CodeNotKept {
			text = what + ": " // it could
		}
		f := fail(reply.Code.Info().Exit, text+toldOf(what, reply.Text))
		f.name = string(reply.Code)
		return f
	case errors.As(err, &dial) && outOfDescriptors(err):
		return fail(exitOS, dial.Error())
	case errors.As(err, &dial):
		return fail(exitUnreachable, dial.Error()).with(dial.Hint())
	case errors.As(err, &proto):
		return fail(exitProto, text+err.Error())
	case errors.Is(err, ipc.ErrClosed):
		return fail(exitUnreachable, text+err.Error())
	}
	return fail(exitOS, text+err.Error())
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

// commandStatus is the status of a CMD that failed, which ipcctl passes on without a word.
type commandStatus int

func (s commandStatus) Error() string { return "CMD ended with status " + strconv.Itoa(int(s)) }

// unparsed is the failure of a command line.
func unparsed(what, why string) *failure {
	return fail(exitUsage, "cannot parse "+what+": "+why)
}

// reason is an error without what it was about.
func reason(err error) string {
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
