package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ipcd/ipcd/internal/config"
	"github.com/ipcd/ipcd/internal/server"
	"github.com/ipcd/ipcd/systemd"
)

// settle is how long a changed configuration is left alone: an editor writes it in several steps.
const settle = 100 * time.Millisecond

// watchReloads reloads on SIGHUP, when a file of the configuration changes, and when one was read that took too long, until ctx
// ends.
func (d *daemon) watchReloads(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	path, watched := d.flags.configPath()
	d.work.Go(func() {
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				_ = d.reload("SIGHUP") // logged
			case <-d.loader.late:
				d.fileChanged(path)
			}
		}
	})
	if watched {
		d.watchFiles(ctx, path)
	}
}

// watchFiles begins to watch in a goroutine that nobody waits for: a file system may not answer.
func (d *daemon) watchFiles(ctx context.Context, path string) {
	type watch struct {
		failed <-chan error
		err    error
	}
	begun := make(chan watch, 1)
	go func() {
		failed, err := config.Watch(ctx, path, settle, func() { d.fileChanged(path) })
		begun <- watch{failed, err}
	}()
	d.work.Go(func() {
		var w watch
		select {
		case <-ctx.Done():
			return
		case w = <-begun:
		}
		if w.err != nil {
			// As on a machine that has no inotify watch left. SIGHUP still works.
			d.log.Warn("cannot watch the configuration: reload by hand after a change", "event", "watch-failed", "error", w.err)
			return
		}
		d.fileChanged(path) // since it was read
		if err := <-w.failed; err != nil {
			d.log.Warn("cannot watch the configuration any more: reload by hand after a change", "event", "watch-failed", "error", err)
		}
	})
}

// fileChanged reloads if what the files say is different now: many an event changes nothing.
func (d *daemon) fileChanged(path string) {
	next, err := d.loader.load()
	d.mu.Lock()
	cfg, rejected := d.cfg, d.rejected
	d.mu.Unlock()
	same := err == nil && rejected == nil && len(config.Changes(cfg, next)) == 0 ||
		err != nil && rejected != nil && err.Error() == rejected.Error()
	if !same {
		_ = d.reload(path + " changed") // logged
	}
}

// reloadFor is the server's way to reload.
func (d *daemon) reloadFor(done func(error)) {
	d.work.Go(func() { done(d.reload("IPCD.RELOAD")) })
}

// reload reads the configuration again and puts it in force as a whole, or says why not and leaves everything as it is.
func (d *daemon) reload(why string) error {
	d.reloads.Lock()
	defer d.reloads.Unlock()
	d.tell(systemd.Reloading())
	defer func() { d.tell(systemd.Ready, systemd.Status(d.summary())) }()
	next, err := d.loader.load()
	if err != nil {
		d.mu.Lock()
		d.rejected = err
		d.mu.Unlock()
		d.logRejection("reload-failed", why, err)
		d.announceRefusal(why, err)
		d.log.Error(fmt.Sprintf("the configuration was rejected: %s, until it is right", d.inForce()), "event", "reload-failed", "reason", why)
		return errors.New(inOneLine(err))
	}
	if err := d.server.SetOptions(options(next)); err != nil {
		return err
	}
	d.level.Set(next.Log.Level)
	changes := config.Changes(d.cfg, next)
	next.Sockets = d.cfg.Sockets // those stay until the next start
	d.enforce(next, sourceOf(next), nil)
	d.keepConfig()
	for _, c := range changes {
		d.log.Info(c.String(), "event", "setting", "key", c.Key, "old", c.Old, "new", c.New)
	}
	d.announceReload(why, next, changes)
	d.log.Info("configuration reloaded", "event", "reload", "reason", why, "config", describeFiles(next), "changes", len(changes))
	return nil
}

// announceReload publishes that the configuration was read again, and which settings are others now.
func (d *daemon) announceReload(why string, cfg *config.Config, changes []config.Change) {
	keys := make([]string, len(changes))
	for i, c := range changes {
		keys[i] = c.Key
	}
	d.server.Announce("config", "reloaded", server.Field{Key: "why", Value: why}, server.Field{Key: "config", Value: describeFiles(cfg)},
		server.Field{Key: "changed", Value: strings.Join(keys, " ")})
}

// announceRefusal publishes every error of the configuration on its own, with its place.
func (d *daemon) announceRefusal(why string, err error) {
	all, ok := errors.AsType[config.Errors](err)
	if !ok {
		all = config.Errors{{Text: err.Error()}}
	}
	for _, e := range all {
		d.server.Announce("config", "refused", server.Field{Key: "why", Value: why}, server.Field{Key: "file", Value: e.File},
			server.Field{Key: "line", Value: int64(e.Line)}, server.Field{Key: "error", Value: e.Text})
	}
}

// inOneLine is what is wrong as a reply and the status have it, "" if nothing is.
func inOneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// logRejection logs every error of the configuration on its own, with its place.
func (d *daemon) logRejection(event, why string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		d.log.Error(line, "event", event, "reason", why)
	}
}
