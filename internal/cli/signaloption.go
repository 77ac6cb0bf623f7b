package cli

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/verb"
)

// signalOption is one that names a signal: TERM, SIGTERM or 15.
func signalOption(short byte, long string, to *syscall.Signal, help string) verb.Option {
	return verb.Option{Short: short, Long: long, Value: "SIG", Help: help, Set: func(s string) error {
		n, err := strconv.Atoi(s)
		name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
		if err != nil {
			n = int(unix.SignalNum("SIG" + name))
		}
		if n < 1 || n > 64 {
			return verb.Expectation{What: "a signal", Examples: "TERM, KILL, 9"}
		}
		*to = syscall.Signal(n)
		return nil
	}}
}
