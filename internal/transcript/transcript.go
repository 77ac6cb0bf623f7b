// Package transcript runs the shell sessions that documents show, and compares what comes out with what they say. It is
// for tests: a document that shows a command which no longer works fails the build.
//
// A session is a fenced block of Markdown with "console" as the first word of its info string:
//
//	```console
//	$ ipcctl lock backup -- false
//	[1]
//	$ ipcctl pub deploy/done v1.2
//	```
//
// A line that begins with "$ " is a command, "> " goes on with it; what follows up to the next command is its output,
// standard output and error together, and "[N]" on the last line its exit status, 0 if absent. In the output "…" stands
// for anything within a line, and a line that is "…" alone for any number of lines. Runs of blanks are equal to each
// other, so that the width of a column does not matter.
//
// What runs sees a terminal at its standard output and error, 120 columns wide, and an empty standard input. No signal is ignored.
//
// All blocks of a document with the same second word of the info string (or none) are one session: one bash, one
// directory, one after the other.
package transcript

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Step is one command of a session.
type Step struct {
	Line    int // in the document
	Command string
	Want    []string // lines of output
	Status  int
}

// Parse returns the steps of a document's session: those of the blocks whose info string is "console", with session as
// its second word if that is not "".
func Parse(document, session string) []Step {
	var steps []Step
	fence, ours := "", false
	for i, line := range strings.Split(document, "\n") {
		mark := strings.TrimLeft(line, " ")
		switch {
		case fence == "" && strings.HasPrefix(mark, "```"):
			fence = mark[:len(mark)-len(strings.TrimLeft(mark, "`"))]
			info := strings.Fields(mark[len(fence):])
			want := strings.Fields("console " + session)
			ours = len(info) == len(want) && strings.Join(info, " ") == strings.Join(want, " ")
		case fence != "" && strings.TrimSpace(line) == fence:
			fence = ""
		case fence == "" || !ours:
		case strings.HasPrefix(line, "$ "):
			steps = append(steps, Step{Line: i + 1, Command: line[2:]})
		case len(steps) == 0:
		case strings.HasPrefix(line, "> ") && len(steps[len(steps)-1].Want) == 0:
			steps[len(steps)-1].Command += "\n" + line[2:]
		default:
			steps[len(steps)-1].Want = append(steps[len(steps)-1].Want, line)
		}
	}
	for i := range steps {
		s := &steps[i]
		if n := len(s.Want); n > 0 {
			if m := statusLine.FindStringSubmatch(s.Want[n-1]); m != nil {
				s.Status, _ = strconv.Atoi(m[1])
				s.Want = s.Want[:n-1]
			}
		}
	}
	return steps
}

var statusLine = regexp.MustCompile(`^\[(\d+)\]$`)

// Run runs a session of the document at path, in dir, and fails t where it does not go as shown.
func Run(t *testing.T, path, session, dir string, env ...string) {
	t.Helper()
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	steps := Parse(string(document), session)
	if len(steps) == 0 {
		t.Fatalf("%s shows no session %q", path, session)
	}
	sh := start(t, dir, env)
	for _, s := range steps {
		got, status := sh.run(s.Command)
		if status != s.Status {
			t.Fatalf("%s:%d: $ %s\nexit status %d, the document says %d; output:\n%s", path, s.Line, s.Command, status, s.Status, strings.Join(got, "\n"))
		}
		if !match(s.Want, got) {
			t.Fatalf("%s:%d: $ %s\nprinted:\n%s\nthe document says:\n%s", path, s.Line, s.Command, strings.Join(got, "\n"), strings.Join(s.Want, "\n"))
		}
	}
}

// A shell is a bash that runs one command after the other.
type shell struct {
	t        *testing.T
	in       *os.File
	terminal *os.File
	out      *bufio.Reader // of terminal
}

// end separates the output of commands.
const end = "\x01end of step\x01"

// patience bounds one command.
const patience = 30 * time.Second

func start(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	inRead, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, outWrite, err := terminal()
	if err != nil {
		t.Fatalf("cannot make a terminal: %v", err)
	}
	cmd := exec.Command("env", "--default-signal", "bash", "--norc", "--noprofile") // whatever nohup or make ignores
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inRead, outWrite, outWrite
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = inRead.Close()
	_ = outWrite.Close()
	t.Cleanup(func() {
		_ = in.Close()   // bash ends with its input
		if !t.Failed() { // else it may be in the middle of something
			_ = unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		}
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // with what it left running, while its number is not another's yet
		_ = cmd.Wait()
		_ = out.Close()
	})
	return &shell{t: t, in: in, terminal: out, out: bufio.NewReader(out)}
}

// terminal makes a terminal that passes bytes on unchanged.
func terminal() (master, terminal *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = master.Close()
		}
	}()
	fd := int(master.Fd())
	if err = unix.SetNonblock(fd, true); err != nil { // Fd made it blocking
		return nil, nil, err
	}
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err == nil {
		settings.Oflag &^= unix.OPOST
		settings.Lflag &^= unix.ECHO
		err = unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, settings)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 120})
	}
	return master, terminal, err
}

// run runs a command and returns the lines it printed and its exit status. Its standard input is empty: bash reads the
// commands from its own.
func (sh *shell) run(command string) (lines []string, status int) {
	sh.t.Helper()
	if _, err := fmt.Fprintf(sh.in, "{ %s\n} </dev/null; printf '%s%%d\\n' $?\n", command, end); err != nil {
		sh.t.Fatalf("$ %s\n%v", command, err)
	}
	_ = sh.terminal.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := sh.out.ReadString('\n')
		if err != nil {
			sh.t.Fatalf("$ %s\ndid not end: %v; it printed:\n%s", command, err, strings.Join(lines, "\n"))
		}
		line = waitLine.ReplaceAllString(strings.TrimSuffix(line, "\n"), "$1")
		if text, number, ok := strings.Cut(line, end); ok {
			if text != "" {
				lines = append(lines, text)
			}
			status, err := strconv.Atoi(number)
			if err != nil {
				sh.t.Fatalf("$ %s\nended with %q", command, line)
			}
			return lines, status
		}
		lines = append(lines, line)
	}
}

// waitLine is what ipcctl shows on a terminal for as long as it waits, with what comes behind it on the line: whether a job in the
// background shows any depends on how long it happens to wait.
var waitLine = regexp.MustCompile(`(?:\r[^\r]*\x1b\[K)+(.)`)

// match compares lines with what a document shows.
func match(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if strings.TrimSpace(want[0]) == "…" {
		for i := 0; i <= len(got); i++ {
			if match(want[1:], got[i:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && matchLine(want[0], got[0]) && match(want[1:], got[1:])
}

func matchLine(want, got string) bool {
	parts := strings.Split(strings.Join(strings.Fields(want), " "), "…")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(strings.Join(strings.Fields(got), " "))
}
