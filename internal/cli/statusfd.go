package cli

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
)

// A statusFile is the descriptor of --status-fd, 0 if there is none.
type statusFile int

// open takes the descriptor from now on, and keeps CMD from getting it.
func (f *statusFile) open(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 3 {
		return verb.Expectation{What: "a descriptor from 3"}
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(n), unix.F_SETFD, flags|unix.FD_CLOEXEC)
	}
	if err != nil {
		return verb.Expectation{What: "an open descriptor", Examples: "ipcctl lock --status-fd=" + value + " … " + value + ">FILE"}
	}
	*f = statusFile(n)
	return nil
}

// option is --status-fd.
func (f *statusFile) option() verb.Option {
	return verb.Option{Short: 0, Long: "status-fd", Value: "N", Set: f.open,
		Help: "Write `run TOKEN` to descriptor N before CMD starts, a token for each lock, or `CODE STATUS` if ipcctl fails"}
}

// runWord begins the line which says that CMD is about to start.
const runWord = "run "

// tokens says a word of these locks.
func (f statusFile) tokens(word string, grants []ipc.Hold) {
	var all []string
	for _, g := range grants {
		all = append(all, tokenText(g.Token))
	}
	f.write(word + strings.Join(all, " "))
}

// typed is the option for a process that inherits the descriptor.
func (f statusFile) typed() string { return "--status-fd=" + strconv.Itoa(int(f)) }

// failed says that ipcctl itself failed.
func (f *statusFile) failed(e *exit.Failure) { f.write(e.Name + " " + strconv.Itoa(e.Exit)) }

// inherit has what this process becomes or starts get the descriptor, too, by the same number: any other may be that of one which CMD is
// to have.
func (f statusFile) inherit() {
	if f != 0 {
		_, _ = unix.FcntlInt(uintptr(f), unix.F_SETFD, 0) // it was open
	}
}

func (f statusFile) write(line string) {
	if f != 0 {
		_, _ = unix.Write(int(f), []byte(line+"\n")) // who does not read it does not want to know
	}
}
