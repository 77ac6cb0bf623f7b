package script

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli"
	"github.com/ipcd/ipcd/internal/daemon"
	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// patience bounds every wait. It is there to fail a script that hangs, not to measure.
const patience = time.Minute

// gorace has the race detector end a process at once, and with a status that is none of ours if there was a race.
const gorace = "atexit_sleep_ms=0 exitcode=99"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ipcctl": func() { exit(cli.Main()) },
		"ipcd":   func() { exit(daemon.Main()) },
		"await":  await,

		"incgroup": enterCgroup,
	})
}

func TestScripts(t *testing.T) {
	// Under nohup, and in the background of some shells, signals are ignored on entry, and a shell cannot trap those: scripts begin
	// with the defaults.
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	testenv.Need(t, "bash", "flock", "dash", "busybox", "mksh", "zsh", "fish", "socat", "unshare")
	testscript.Run(t, testscript.Params{
		Dir:                 ".",
		Deadline:            time.Now().Add(20 * patience),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			tb, ok := e.T().(testing.TB)
			if !ok {
				return errors.New("testscript.T is no testing.TB")
			}
			e.Values[worldKey{}] = &world{tb: tb}
			e.Setenv("SHELL", "/bin/sh")
			e.Setenv("NO_COLOR", "1")
			e.Setenv("GORACE", gorace)
			e.Setenv("IPCD_SOCKET", filepath.Join(e.WorkDir, "no-daemon"))
			return nil
		},
		Condition: func(name string) (bool, error) {
			var major, minor int
			if n, err := fmt.Sscanf(name, "linux:%d.%d", &major, &minor); n != 2 || err != nil {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return testenv.HasKernel(t, major, minor), nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": runDaemon,
			"answer": startAnswer,
			"status": runStatus,
			"until":  runUntil,
			"tty":    runTTY,
			"hold":   holdLock,
			"free":   freeLock,
			"queued": waitQueued,
			"holder": setHolder,

			"abandon":    abandonLock,
			"documented": checkDocumented,
			"chars":      setChars,
			"plain":      runPlain,
			"namespaces": needNamespaces,
			"cgroups":    needCgroups,
			"mkcgroup":   makeCgroup,
			"rmcgroup":   removeCgroup,
			"root":       needRoot,
		},
	})
}

// A world is what belongs to one script.
type world struct {
	tb     testing.TB
	daemon *testdaemon.Daemon
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world {
	w, ok := ts.Value(worldKey{}).(*world)
	if !ok {
		ts.Fatalf("the script was not set up")
	}
	return w
}

// want fails the script unless a command was used as its usage says.
func want(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func runDaemon(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) == 1 && w.daemon != nil {
		switch args[0] {
		case "stop":
			w.daemon.Stop()
			return
		case "kill":
			w.daemon.Kill()
			return
		case "start":
			w.daemon.Restart()
			return
		}
	}
	want(ts, !neg && len(args) <= 1 && w.daemon == nil, "daemon [FILE], daemon stop, daemon kill, daemon start")
	c := testdaemon.Config{Env: []string{"GORACE=" + gorace}}
	if len(args) == 1 {
		c.TOML = ts.ReadFile(args[0])
	}
	w.daemon = testdaemon.Start(w.tb, c)
	ts.Setenv("IPCD_SOCKET", w.daemon.Socket)
}

func runStatus(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) >= 2, "status N CMD…")
	checkStatus(ts, args[0], ts.Exec(args[1], args[2:]...))
}

// checkStatus compares how a process ended with what the script wants.
func checkStatus(ts *testscript.TestScript, wanted string, err error) {
	n, e := strconv.Atoi(wanted)
	ts.Check(e)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			got = 128 + int(s.Signal())
		}
	} else {
		ts.Check(err)
	}
	if got != n {
		ts.Fatalf("status %d, want %d", got, n)
	}
}

// needNamespaces skips the script where the kernel does not let one make namespaces.
func needNamespaces(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 0, "namespaces")
	probe := exec.Command("true")
	probe.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWTIME}
	testenv.Allowed(worldOf(ts).tb, "make namespaces", probe.Run())
}

// needRoot skips the script unless it is root's.
func needRoot(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 0, "root")
	testenv.Root(worldOf(ts).tb)
}

func runUntil(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) >= 1, "until CMD…")
	if err := tryAgain(func() error { return ts.Exec(args[0], args[1:]...) }); err != nil {
		ts.Fatalf("it never succeeds: %v", err)
	}
}

// await is "until" for the shell scripts of a script: await CMD….
func await() {
	err := tryAgain(func() error {
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "it never succeeds: %v\n", err)
		exit(1)
	}
}

// tryAgain does something until it succeeds. It is for states of other processes of which nothing tells: to look at them all the time would
// only take them longer.
func tryAgain(do func() error) error {
	pause := time.Millisecond
	for deadline := time.Now().Add(patience); ; pause = min(2*pause, 32*time.Millisecond) {
		err := do()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}
