package daemon

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ipcd/ipcd/internal/config"
	"github.com/ipcd/ipcd/systemd"
)

// settle is how long a changed configuration is left alone: an editor writes it in several steps.
const settle = 100 * time.Millisecond

// watchReloads reloads on SIGHUP and when a file of the configuration changes, until ctx ends.
func (d *daemon) watchReloads(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	d.work.Go(func() {
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				_ = d.reload("SIGHUP") // logged
			}
		}
	})
	path, ok := d.flags.configPath()
	if !ok {
		return nil
	}
	failed, err := config.Watch(ctx, path, settle, func() { d.fileChanged(path) })
	if err != nil {
		// As on a machine that has no inotify watch left. SIGHUP still works.
		d.log.Warn("cannot watch the configuration: reload by hand after a change", "event", "watch-failed", "error", err)
		return nil
	}
	d.work.Go(func() {
		if err := <-failed; err != nil {
			d.log.Warn("cannot watch the configuration any more: reload by hand after a change", "event", "watch-failed", "error", err)
		}
	})
	return nil
}

// fileChanged reloads if what the files say is different now: many an event changes nothing.
func (d *daemon) fileChanged(path string) {
	next, err := d.flags.load()
	d.mu.Lock()
	same := err == nil && d.rejected == "" && len(config.Changes(d.cfg, next)) == 0 ||
		err != nil && d.rejected == inOneLine(err)
	d.mu.Unlock()
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
	defer d.tell(systemd.Ready)
	next, err := d.flags.load()
	if err != nil {
		d.logRejection(why, err)
		text := inOneLine(err)
		d.mu.Lock()
		d.rejected = text
		d.mu.Unlock()
		return errors.New(text)
	}
	if err := d.server.SetOptions(options(next)); err != nil {
		return err
	}
	d.level.Set(next.Log.Level)
	d.mu.Lock()
	changes := config.Changes(d.cfg, next)
	next.Sockets = d.cfg.Sockets // those stay until the next start
	d.cfg, d.loaded, d.rejected = next, time.Now(), ""
	d.mu.Unlock()
	for _, c := range changes {
		d.log.Info(c.String(), "event", "setting", "key", c.Key, "old", c.Old, "new", c.New)
	}
	d.log.Info("configuration reloaded", "event", "reload", "reason", why, "config", describeFiles(next), "changes", len(changes))
	return nil
}

// inOneLine is what is wrong with the configuration as a reply and the status have it.
func inOneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// logRejection logs every error of the configuration on its own, with its place.
func (d *daemon) logRejection(why string, err error) {
	var all config.Errors
	if !errors.As(err, &all) {
		d.log.Error(err.Error(), "event", "reload-failed", "reason", why)
		return
	}
	for _, e := range all {
		d.log.Error(e.Error(), "event", "reload-failed", "reason", why)
	}
	d.log.Error("the configuration was rejected: the running one is kept", "event", "reload-failed", "reason", why, "errors", len(all))
}
