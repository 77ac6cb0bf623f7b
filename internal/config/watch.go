package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// patience is how many times the settling time a call may be put off by changes that keep coming.
const patience = 10

// Watch calls onChange after the configuration at path, or its drop-ins, may have changed: once for changes that follow each
// other within settle. The calls come one at a time, from a goroutine of their own.
//
// When Watch returns, it is watching: load afterwards, and no change is missed. It ends with ctx, or says on the channel why
// it cannot go on. Once the channel is closed, onChange is not called any more and nothing is left behind.
func Watch(ctx context.Context, path string, settle time.Duration, onChange func()) (<-chan error, error) {
	w, err := newWatcher(path, settle, onChange)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		if err := w.watch(ctx); err != nil {
			ended <- err
		}
	}()
	return ended, nil
}

type watcher struct {
	notify   *fsnotify.Watcher
	path     string
	settle   time.Duration
	onChange func()
	targets  *targets
}

// newWatcher returns a watcher that has its watches already. Its watch must be called, which closes it.
func newWatcher(path string, settle time.Duration, onChange func()) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("cannot watch the configuration: %w", err)
	}
	w := &watcher{notify: notify, path: path, settle: settle, onChange: onChange}
	if err := w.sync(); err != nil {
		return nil, errors.Join(err, notify.Close())
	}
	return w, nil
}

func (w *watcher) watch(ctx context.Context) error {
	// Errors mean that events were lost, or that a directory went away just now: a change of ours, perhaps. They need a
	// goroutine of their own, because the library may hold a lock until they are taken, which sync needs.
	lost := make(chan struct{}, 1)
	var drain sync.WaitGroup
	drain.Go(func() {
		for range w.notify.Errors {
			select {
			case lost <- struct{}{}:
			default:
			}
		}
	})
	err := w.run(ctx, w.notify.Events, lost)
	err = errors.Join(err, w.notify.Close())
	drain.Wait()
	return err
}

func (w *watcher) run(ctx context.Context, events <-chan fsnotify.Event, lost <-chan struct{}) error {
	var first time.Time // of the changes that onChange has not been told of, if the timer runs
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	for {
		changed := false
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			changed = w.targets.concerns(e.Name)
		case <-lost:
			changed = true
		case <-timer.C:
			first = time.Time{}
			// First the watches, then the call, so that it sees every change that no watch will report.
			if err := w.sync(); err != nil {
				return err
			}
			w.onChange()
		}
		if changed {
			if first.IsZero() {
				first = time.Now()
			}
			timer.Reset(min(w.settle, time.Until(first.Add(patience*w.settle))))
		}
	}
}

// sync makes the watches those that the files need as they are now.
func (w *watcher) sync() error {
	var before *targets
	for range 100 {
		now := findTargets(w.path)
		if before != nil && maps.Equal(now.dirs, before.dirs) && maps.Equal(now.names, before.names) {
			w.targets = now
			return nil
		}
		// What was found before a directory was watched may be outdated by then, hence the second look.
		before = now
		// Remove comes first: of a directory that was renamed, the watch would be known by the old name still.
		for _, dir := range w.notify.WatchList() {
			if !now.dirs[dir] {
				_ = w.notify.Remove(dir) // It may have gone by itself.
			}
		}
		// Those that are watched are added too: there may be a new directory in the place of the old.
		for dir := range now.dirs {
			if err := w.notify.Add(dir); err != nil && !vanished(err) {
				return fmt.Errorf("cannot watch %s: %w", dir, err)
			}
		}
	}
	return errors.New("cannot watch the configuration: its directories keep changing")
}
