package daemon

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipcd/ipcd/internal/server"
	"github.com/ipcd/ipcd/systemd"
)

// A storage is what is known of the files that outlive the daemon: what could not be used of them when it started, and what cannot
// be written now. That does not keep the daemon from serving: it is told, and tried again until it works.
type storage struct {
	mu       sync.Mutex
	damaged  []string
	problems map[string]problem // by file
	wake     chan struct{}      // when there is something to try, or to tell
}

// A problem is one that keeps a file from being written.
type problem struct {
	text  string
	again func() // tries it again, and says how that went by calling note
}

// How long it takes until what does not work is tried again: twice as long each time.
const (
	retryFirst = time.Second
	retryLast  = time.Minute
)

func newStorage() *storage {
	return &storage{problems: map[string]problem{}, wake: make(chan struct{}, 1)}
}

// found notes, and logs, what a file was found to be when it was opened.
func (d *daemon) found(message, file string, err error) {
	d.log.Error(message, "event", "state-failed", "file", file, "error", err)
	s := d.storage
	s.mu.Lock()
	defer s.mu.Unlock()
	s.damaged = append(s.damaged, inOneLine(err))
}

// note notes whether a file can be written. It is logged when that changes.
func (d *daemon) note(file string, err error, again func()) {
	s := d.storage
	s.mu.Lock()
	defer s.mu.Unlock()
	was, had := s.problems[file]
	switch {
	case err == nil && !had:
		return
	case err == nil:
		delete(s.problems, file)
		d.log.Info("a file of the state can be written again", "event", "state-mended", "file", file)
	default:
		s.problems[file] = problem{inOneLine(err), again}
		if had {
			if was.text == inOneLine(err) {
				return
			}
		} else {
			d.log.Error("a file of the state cannot be written: it is tried again until it can", "event", "state-failed", "file", file, "error", err)
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// texts are what is wrong, and what was found damaged, in one line each; "" if nothing is.
func (s *storage) texts() (problem, damaged string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, file := range slices.Sorted(maps.Keys(s.problems)) {
		all = append(all, file+": "+s.problems[file].text)
	}
	return strings.Join(all, "; "), strings.Join(s.damaged, "; ")
}

// tries are what is to be tried again.
func (s *storage) tries() (all []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.problems {
		all = append(all, p.again)
	}
	return all
}

// mend tries again what does not work, until ctx ends: with more and more time in between, but at once when something else has
// come to work. It tells the service manager what is wrong, and who is subscribed, when that is not what they were told already.
func (d *daemon) mend(ctx context.Context, told string) {
	open, wait := 0, retryFirst
	timer := time.NewTimer(wait)
	defer timer.Stop()
	waits := true // for the timer
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.storage.wake:
		case <-timer.C:
			waits = false
			for _, again := range d.storage.tries() {
				again()
			}
		}
		if text, _ := d.storage.texts(); text != told {
			told = text
			d.tell(systemd.Status(d.summary()))
			d.server.Announce("status", "problem", server.Field{Key: "problem", Value: text})
		}
		before := open
		switch open = len(d.storage.tries()); {
		case open == 0:
			wait = retryFirst
		case open < before:
			timer.Reset(0)
			waits = true
		case !waits:
			timer.Reset(wait)
			waits, wait = true, min(2*wait, retryLast)
		}
	}
}
