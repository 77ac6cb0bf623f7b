package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// A site is a daemon, and the processes that take locks from it.
type site struct {
	*testdaemon.Daemon
	*ledger
	t       testing.TB
	ipcctl  string
	env     []string
	rng     *rand.Rand
	kept    bool // the socket is open while the daemon is down, as with systemd
	deaths  int  // of daemons
	faults  int  // how many daemons were faulty
	faulty  bool // this one is
	reading int  // lines of the ledger that history knows
	disk    bool // the state directory is a file system of its own
	begun   int  // workers
	workers map[string]*worker
	history *history
}

// newSite starts a daemon and nothing else.
func newSite(t testing.TB, seed uint64) *site {
	t.Helper()
	s := &site{Daemon: testdaemon.Command(t, testdaemon.Config{TOML: "[limits]\nconnections = 4096\n", Env: []string{"GORACE=atexit_sleep_ms=0"}}), t: t, workers: map[string]*worker{}}
	// The workers are gone before the daemon's directory is.
	s.ipcctl = testdaemon.Program(t, "ipcctl")
	s.rng = rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	s.ledger = openLedger(t, s.Dir)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "IPC") {
			s.env = append(s.env, v)
		}
	}
	s.env = append(s.env, "IPCD_SOCKET="+s.Socket, "IPCCTL="+s.ipcctl, "LEDGER="+s.path)
	wants := map[string]want{}
	s.history = newHistory(wants, kernelTells(t))
	t.Cleanup(s.endWorkers)
	return s
}

// kernelTells reports whether the daemon learns how each process has ended: from Linux 6.15 on, and root before the process is
// reaped, too.
func kernelTells(t testing.TB) bool {
	return os.Geteuid() == 0 && testenv.HasKernel(t, 6, 15)
}

// keepSocket has the daemon's socket outlive it.
func (s *site) keepSocket() {
	s.t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Socket, Net: "unix"})
	if err != nil {
		s.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		s.t.Fatal(err)
	}
	_ = l.Close()
	s.t.Cleanup(func() { _ = f.Close() })
	s.Pass(f)
	s.kept = true
}

// A worker is a process that asks for locks.
type worker struct {
	want
	id      string
	verb    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stays   bool // until it is told to go
	told    bool // to go
	killed  bool
	status  int   // that it is to end with
	lost    bool  // what it had
	refused []int // what it may end with if it does not get what it wants
	deaths  int   // of daemons, when it began
	faults  int   // likewise
	exited  chan struct{}
}

// What a worker does when it has its locks, under ipcctl lock; and one that takes them in its midst.
const (
	underLock = `set -- $IPC_LOCKS
printf 'in|%s|%s|%s|%s|%s\n' "$ID" $$ "$IPC_LOCK_PREVIOUS" "$IPC_LOCK_ABANDONED" "$*" >>"$LEDGER"
[ -z "$STAYS" ] || read -r go
printf 'out|%s|%s\n' "$ID" "$HOW" >>"$LEDGER"
exit $STATUS`
	acquiring = `token=$("$IPCCTL" acquire -t -p $$ "$@") || exit
for name; do :; done
printf 'in|%s|%s|?||%s\n' "$ID" $$ "$token $name" >>"$LEDGER"
[ -z "$STAYS" ] || read -r go
printf 'out|%s|\n' "$ID" >>"$LEDGER"
"$IPCCTL" release "$name" # it ends with this process, too
exit $STATUS`
)

// start has a process ask by these words: of "ipcctl lock", of "ipcctl once", or of "ipcctl acquire -p".
func (s *site) start(w *worker, verb string, options ...string) *worker {
	s.t.Helper()
	s.begun++
	w.id, w.exited = strconv.Itoa(s.begun), make(chan struct{})
	w.verb, w.deaths, w.faults = verb, s.deaths, s.faults
	if s.faulty {
		w.faults--
	}
	s.workers[w.id], s.history.wants[w.id] = w, w.want
	switch verb {
	case "acquire":
		w.cmd = exec.Command("sh", append([]string{"-c", acquiring, "sh"}, append(options, w.names...)...)...)
	case "once":
		w.cmd = exec.Command(s.ipcctl, "once", w.names[0], "--", "sh", "-c", underLock)
	default:
		words := append([]string{"lock"}, options...)
		for _, name := range w.names[1:] {
			words = append(words, "-a", name)
		}
		w.cmd = exec.Command(s.ipcctl, append(words, w.names[0], "--", "sh", "-c", underLock)...)
	}
	how, stays := fmt.Sprintf("exited %d", w.status), ""
	if verb == "once" {
		how = "" // which process ends first is not certain
	}
	if w.stays {
		stays = "yes"
	}
	w.cmd.Env = append(s.env, "ID="+w.id, "STAYS="+stays, "HOW="+how, fmt.Sprintf("STATUS=%d", w.status)) //nolint:gocritic // its own
	stderr, err := os.Create(w.said(s))
	if err != nil {
		s.t.Fatal(err)
	}
	defer stderr.Close()
	w.cmd.Stderr = stderr
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	s.say("ask", w.id, verb, strings.Join(w.names, " "), strings.Join(options, " "))
	if err := w.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = w.cmd.Wait() // see check
		s.say("end", w.id, w.cmd.ProcessState)
		close(w.exited)
	}()
	return w
}

// hold has a process take a lock alone, and stay.
func (s *site) hold(name string) *worker {
	s.t.Helper()
	return s.start(&worker{want: want{names: []string{name}, units: 1}, stays: true}, "lock")
}

// holders has so many processes take a lock each, and waits until they have.
func (s *site) holders(n int) []*worker {
	s.t.Helper()
	all := make([]*worker, n)
	for i := range all {
		all[i] = s.hold(fmt.Sprintf("held/%d", i))
	}
	for _, w := range all {
		s.entered(w)
	}
	return all
}

// entered waits until a worker has its locks.
func (s *site) entered(w *worker) {
	s.t.Helper()
	s.await("worker "+w.id+" has its locks", func(lines []line) bool { return isIn(lines, w.id) })
}

func isIn(lines []line, id string) bool {
	for _, l := range lines {
		if l.words[0] == "in" && l.words[1] == id {
			return true
		}
	}
	return false
}

// letGo has a worker end as soon as it has what it wants.
func (s *site) letGo(w *worker) {
	w.told = true
	_, _ = io.WriteString(w.stdin, "go\n") // it may have ended
}

// kill ends a worker.
func (s *site) kill(w *worker) {
	w.killed = true
	s.say("kill", w.id)
	_ = w.cmd.Process.Kill() // it may have ended
	<-w.exited
}

// endWorkers is the end of all that a test has left.
func (s *site) endWorkers() {
	for _, w := range s.workers {
		if w.cmd != nil {
			_ = w.cmd.Process.Kill()
			<-w.exited
		}
	}
}

// run has ipcctl do something, and returns what it prints and its status.
func (s *site) run(words ...string) (string, int) {
	cmd := exec.Command(s.ipcctl, words...)
	cmd.Env = s.env
	out, _ := cmd.Output() // the status says it
	return strings.TrimSpace(string(out)), cmd.ProcessState.ExitCode()
}

// begin starts the daemon.
func (s *site) begin() {
	s.t.Helper()
	s.Run()
	s.say("up", s.PID())
}

// crash kills the daemon.
func (s *site) crash() {
	s.t.Helper()
	s.deaths++
	s.say("down", "killed")
	s.Down()
}

// withFault starts a daemon under a command that has some fault befall it, reports whether it is ready, has something done
// meanwhile, and kills it.
func (s *site) withFault(what string, under []string, meanwhile func(ready bool)) {
	s.t.Helper()
	s.faults++
	s.faulty = true
	s.say("fault", what, strings.Join(under, " "))
	s.Under(under...)
	ready := s.Try()
	s.say("fault", "ready:", ready)
	if meanwhile != nil {
		meanwhile(ready)
	}
	s.crash()
	s.faulty = false
	s.Under()
}

// check fails the test for all that must never be.
func (s *site) check() {
	s.t.Helper()
	s.catchUp()
	for _, l := range s.all()[s.reading:] {
		if err := s.history.step(l.words); err != nil {
			s.t.Errorf("at %.6f: %v", l.at.Seconds(), err)
		}
		s.reading++
	}
	for id, w := range s.workers {
		if s.history.ended[id] {
			<-w.exited
			s.checkStatus(w)
			delete(s.workers, id)
		}
	}
}

// checkStatus fails the test unless a worker has ended in a way that is documented for what happened.
func (s *site) checkStatus(w *worker) {
	s.t.Helper()
	if w.killed {
		return
	}
	status := w.cmd.ProcessState.ExitCode()
	allowed := []int{w.status}
	if !s.history.in[w.id] {
		allowed = w.refused
	}
	// Nobody listened, or the daemon ended again and again under the request, or again when its time was over; once has to tell it
	// something at its end.
	enough := 2
	if w.refused != nil { // by -n or -w
		enough = 1
	}
	if deaths := s.deaths - w.deaths; deaths > 0 && (!s.kept || deaths > enough) || w.verb == "once" && deaths > 0 {
		allowed = append(allowed, exitUnreachable)
	}
	if s.faults > w.faults { // it may say that it cannot
		allowed = append(allowed, exitUnreachable, exitOS, exitIO, exitQuota)
	}
	if !slices.Contains(allowed, status) {
		said, _ := os.ReadFile(w.said(s))
		s.t.Errorf("worker %s ended with %v, allowed are %v:\n%s", w.id, w.cmd.ProcessState, allowed, said)
	}
	_ = os.Remove(w.said(s))
}

// What ipcctl may end with: see ipcctl(1).
const (
	exitUnreachable = 69
	exitOS          = 71
	exitIO          = 74
	exitBusy        = 75
	exitQuota       = 79
	exitTimeout     = 124
)

// said is the file of what a worker has written to stderr.
func (w *worker) said(s *site) string { return filepath.Join(s.Dir, "stderr."+w.id) }

// listed are the holders of all locks as ipcctl shows them: processes by token and name.
func (s *site) listed() map[string]string {
	s.t.Helper()
	out, status := s.run("locks", "--json")
	if status != 0 {
		s.t.Fatalf("ipcctl locks ended with %d", status)
	}
	holders := map[string]string{}
	for text := range strings.SplitSeq(out, "\n") {
		var lock struct {
			Name    string
			Holders []struct {
				PID   int
				Token uint64
			}
		}
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &lock); err != nil {
			s.t.Fatalf("ipcctl locks --json says %q: %v", text, err)
		}
		for _, h := range lock.Holders {
			holders[fmt.Sprintf("%d %s", h.Token, lock.Name)] = strconv.Itoa(h.PID)
		}
	}
	return holders
}

// verify fails the test unless the daemon shows all who are in for certain.
func (s *site) verify() {
	s.t.Helper()
	s.check()
	holders := s.listed()
	for id, e := range s.history.inside {
		w := s.workers[id]
		if w == nil || !w.stays || w.told || w.killed || w.lost {
			continue // a connection's, or it may have ended
		}
		for name, token := range e.tokens {
			switch pid, held := holders[fmt.Sprintf("%d %s", token, name)]; {
			case !held:
				s.t.Errorf("worker %s lives and has lost %q, token %d", id, name, token)
				w.lost = true
			case pid != e.pid && w.verb != lease:
				s.t.Errorf("worker %s, process %s: %q is shown as held by %s", id, e.pid, name, pid)
			}
		}
	}
}
