package crash

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait. It is there to fail a test that hangs, not to measure.
const patience = 60 * time.Second

// A ledger is what all processes of a test say, in one order.
type ledger struct {
	t     testing.TB
	path  string
	pipe  *os.File
	begun time.Time
	grown chan struct{}
	mark  int

	mu    sync.Mutex
	lines []line
}

type line struct {
	at    time.Duration
	words []string
}

func openLedger(t testing.TB, dir string) *ledger {
	t.Helper()
	l := &ledger{t: t, path: filepath.Join(dir, "ledger"), begun: time.Now(), grown: make(chan struct{}, 1)}
	if err := unix.Mkfifo(l.path, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.pipe, err = os.OpenFile(l.path, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(l.read)
	t.Cleanup(func() {
		l.say("close")
		reading.Wait()
		_ = l.pipe.Close()
		if t.Failed() {
			t.Logf("what happened:\n%s", l.text())
		}
	})
	return l
}

// read takes up all lines until "close".
func (l *ledger) read() {
	for lines := bufio.NewScanner(l.pipe); lines.Scan() && lines.Text() != "close"; {
		l.mu.Lock()
		l.lines = append(l.lines, line{time.Since(l.begun), strings.Split(lines.Text(), "|")})
		l.mu.Unlock()
		select {
		case l.grown <- struct{}{}:
		default:
		}
	}
}

// say writes a line for those who cannot.
func (l *ledger) say(words ...any) {
	text := make([]string, len(words))
	for i, w := range words {
		text[i] = strings.NewReplacer("\n", " ", "|", "/").Replace(fmt.Sprint(w))
	}
	if _, err := l.pipe.WriteString(strings.Join(text, "|") + "\n"); err != nil {
		l.t.Error(err)
	}
}

// catchUp returns when all that was said before is among the lines.
func (l *ledger) catchUp() {
	l.t.Helper()
	l.mark++
	mark := fmt.Sprint(l.mark)
	l.say("mark", mark)
	l.await("what was said is read", func(lines []line) bool {
		return slices.ContainsFunc(lines[max(0, len(lines)-1000):], func(e line) bool { return e.words[0] == "mark" && e.words[1] == mark })
	})
}

// all are the lines so far.
func (l *ledger) all() []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[:len(l.lines):len(l.lines)]
}

// await returns when the lines satisfy a condition.
func (l *ledger) await(what string, is func([]line) bool) {
	l.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !is(l.all()) {
		select {
		case <-l.grown:
		case <-late.C:
			l.t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// text is the end of the ledger.
func (l *ledger) text() string {
	lines := l.all()
	var b strings.Builder
	for _, each := range lines[max(0, len(lines)-250):] {
		if each.words[0] == "mark" {
			continue
		}
		fmt.Fprintf(&b, "%10.6f %s\n", each.at.Seconds(), strings.Join(each.words, " | "))
	}
	return b.String()
}
