package script

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ipcd/ipcd/test/terminal"
)

func exit(status int) { os.Exit(status) }

func runTTY(ts *testscript.TestScript, neg bool, args []string) {
	interrupt := ""
	if len(args) > 2 && args[0] == "-c" {
		interrupt, args = args[1], args[2:]
	}
	want(ts, !neg && len(args) >= 2, "tty [-c TEXT] N CMD…")
	out, err := onTerminal(ts, interrupt, args[1:])
	_, e := ts.Stdout().Write(out)
	ts.Check(e)
	checkStatus(ts, args[0], err)
}

// onTerminal runs a command on a terminal of its own, and gives what that shows and how the command ended.
func onTerminal(ts *testscript.TestScript, interrupt string, args []string) ([]byte, error) {
	term, process, err := terminal.Open()
	ts.Check(err)
	defer term.Close()

	// As testscript does: its own commands are found by the PATH of the script.
	cmd := exec.Command("/usr/bin/env", append([]string{"-C", ts.MkAbs("."), "PATH=" + ts.Getenv("PATH"),
		"IPCD_SOCKET=" + ts.Getenv("IPCD_SOCKET"), "NO_COLOR=" + ts.Getenv("NO_COLOR"), "TERM=xterm", "GORACE=" + gorace}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = process, process, process
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	process.Close()
	ts.Check(err)
	out := readTerminal(term, interrupt)
	return out, cmd.Wait()
}

// readTerminal reads until no process has the terminal any more, and presses Ctrl-C when it sees a text.
func readTerminal(term *os.File, interrupt string) []byte {
	var out []byte
	b := make([]byte, 4096)
	for {
		n, err := term.Read(b)
		out = append(out, b[:n]...)
		if interrupt != "" && bytes.Contains(out, []byte(interrupt)) {
			interrupt = ""
			_, _ = term.Write([]byte{3}) // if the process has ended by itself, its status will tell
		}
		if err != nil { // EIO
			return out
		}
	}
}

// startAnswer is a daemon that answers everything alike.
func startAnswer(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "answer FILE")
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n")
	// Relative, as the name of a socket must be short.
	dir, err := os.MkdirTemp("", "ipcd-test-")
	ts.Check(err)
	socket := filepath.Join(dir, "answer.sock")
	l, err := net.Listen("unix", socket)
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			b := make([]byte, 4096)
			if _, err := c.Read(b); err == nil {
				_, _ = c.Write([]byte(text)) // who does not read it has failed by then
			}
			c.Close()
		}
	}()
	ts.Defer(func() {
		l.Close()
		<-done
		ts.Check(os.RemoveAll(dir))
	})
	ts.Setenv("IPCD_SOCKET", socket)
}
