package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/config"
	"github.com/ipcd/ipcd/internal/locks"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/server"
	"github.com/ipcd/ipcd/internal/state"
	"github.com/ipcd/ipcd/internal/version"
	"github.com/ipcd/ipcd/systemd"
)

// A daemon is what lives beside the server's loop.
type daemon struct {
	flags       flags
	log         *slog.Logger
	level       *slog.LevelVar
	alive       *systemd.Notifier // for the watchdog
	server      *server.Server
	mark        *state.Mark   // nil without a state directory
	wanted      atomic.Uint64 // the highest mark that was asked for
	storage     *storage
	journalLock *os.File // held by the daemon that uses the runtime directory

	loader    *loader
	lastGood  *lastGood
	listeners []listener
	unbound   []error // why sockets of the configuration were not made

	isReady chan struct{} // from the loop's first turn
	reloads sync.Mutex    // one at a time, and none before READY
	work    sync.WaitGroup

	mu       sync.Mutex // guards what follows, which IPCD.STATUS shows
	cfg      *config.Config
	source   source
	loaded   time.Time
	rejected error // what is wrong with the files as they are, nil if nothing is
}

// serve runs the daemon until a signal stops it, with this configuration, or if it was rejected another one.
func serve(f flags, l *loader, cfg *config.Config, rejected error) (err error) {
	level := new(slog.LevelVar)
	handler := systemd.NewLogHandler(systemd.LogOptions{Identifier: "ipcd", Prefix: "IPCD_", Level: level})
	defer func() { _ = handler.Close() }()
	d := &daemon{flags: f, log: slog.New(handler), level: level, loader: l, isReady: make(chan struct{}, 1), storage: newStorage()}
	if cfg != nil {
		level.Set(cfg.Log.Level)
	}
	defer func() {
		if d.mark != nil {
			_ = d.mark.Close() // which leaves the state directory to others
		}
	}()
	defer d.work.Wait() // for what is written there, too
	// A file that grows beyond ulimit -f is an error then, and not the end.
	signal.Ignore(syscall.SIGXFSZ)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if d.alive, err = systemd.NewNotifier(); err != nil {
		return err
	}
	defer func() { _ = d.alive.Close() }()
	files, err := systemd.Files()
	if err != nil {
		return err
	}
	setup, err := d.setup()
	if err != nil {
		return err
	}
	if err := d.openJournal(&setup); err != nil {
		return err
	}
	if err := d.configure(cfg, rejected, len(files) > 0); err != nil {
		return err
	}
	cfg = d.cfg
	level.Set(cfg.Log.Level)
	if d.server, err = server.New(setup, options(cfg)); err != nil {
		return err
	}
	held := []*os.File{d.journalLock}
	if d.mark != nil {
		held = append(held, d.mark.Locked())
	}
	if d.listeners, d.unbound, err = listeners(cfg, files, f.attended(), held...); err != nil {
		return err
	}
	defer func() { removeFiles(d.listeners, held...) }()
	for _, err := range d.unbound {
		d.log.Error("a socket of the configuration is missing until the next start", "event", "listen-failed", "error", err)
	}
	for _, l := range d.listeners {
		if err := d.server.Listen(l.fd, l.path); err != nil {
			return err
		}
	}
	d.warnOfDescriptors(cfg)
	d.keepConfig()
	d.watchReloads(ctx)
	d.reloads.Lock()
	d.log.Info("starting", "event", "start", "version", version.String(), "pid", os.Getpid(), "config", describeFiles(cfg))
	d.server.Post(d.ready)
	d.work.Go(func() { d.tellLife(ctx) })
	d.work.Go(func() { saveMemory(ctx) })
	return d.server.Run(ctx)
}

// setup is what the server is made of.
func (d *daemon) setup() (server.Setup, error) {
	s := server.Setup{
		Version: version.String(),
		Log:     d.log,
		Reload:  d.reloadFor,
		Status:  d.status,
		Verify:  os.Getenv("IPCD_VERIFY") == "1",
		Turns:   os.Getenv("IPCD_TURNS") == "1",
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return s, fmt.Errorf("cannot tell this boot from others: %w", err)
	}
	s.BootID = strings.TrimSpace(string(boot))
	interval, watched, err := systemd.WatchdogInterval()
	if err != nil {
		return s, err
	}
	if watched {
		s.WatchdogEvery = interval / 2
		s.Watchdog = func() { _ = d.alive.Alive() } // lost if systemd is busy: the next one counts too
	}
	if d.flags.stateDir == "" {
		d.log.Warn("no state directory: what operators hold and what is done is forgotten with the daemon, "+
			"and lock tokens rise with the time of day alone, not if that is set back", "event", "no-state")
		return s, nil
	}
	if d.mark, err = state.OpenMark(d.flags.stateDir); err != nil {
		return s, err
	}
	if err := d.mark.Corrupt(); err != nil {
		d.found("the mark of the lock tokens was damaged: they go on from the time of day", "token-mark", err)
	}
	s.Token = d.mark.Last()
	s.Mark = locks.NextMark(s.Token, time.Now())
	if d.raise(s.Mark); d.mark.Last() < s.Mark {
		// A daemon before this one may have given tokens beyond the mark as well, but not one in each microsecond since it was written.
		s.Token += uint64(d.mark.Age().Microseconds())
		s.Mark = locks.NextMark(s.Token, time.Now())
		d.raise(s.Mark)
	}
	s.RaiseMark = func(to uint64) {
		d.work.Go(func() {
			d.raise(to)
			d.server.MarkRaised(to, nil)
		})
	}
	if s.Holds, s.SaveHolds, err = openTable(d, "holds", record.CheckOperatorHolds); err != nil {
		return s, err
	}
	s.Done, s.SaveDone, err = openTable(d, "done", record.CheckDone)
	return s, err
}

// raise makes the mark of tokens durable. If it cannot, they go on all the same, by the time of day, as they do without a state
// directory: they rise unless the daemon ends and the clock is set back before the mark is written.
func (d *daemon) raise(to uint64) {
	for {
		last := d.wanted.Load()
		if last >= to || d.wanted.CompareAndSwap(last, to) {
			break
		}
	}
	d.note("token-mark", d.mark.Raise(d.wanted.Load()), func() { d.raise(0) })
}

// openTable opens a table of the state directory: what it holds, and the server's way to write it.
func openTable[T any](d *daemon, name string, check func([]T) error) ([]T, func([]T, func(error)), error) {
	t, err := state.OpenTable(d.mark, name, check)
	if err != nil {
		return nil, nil, err
	}
	if err := t.Corrupt(); err != nil {
		d.found("a file of the state directory was damaged, and is begun anew", name, err)
	}
	var again func()
	again = func() { d.note(name, t.SaveAgain(), again) }
	d.note(name, t.Unread(), again)
	return t.Rows(), func(all []T, done func(error)) {
		d.work.Go(func() {
			err := t.Save(all)
			d.note(name, err, again)
			done(err)
		})
	}, nil
}

func options(cfg *config.Config) server.Options {
	return server.Options{
		Limits: server.Limits{
			Connections:          cfg.Limits.Connections,
			ConnectionsPerUser:   cfg.Limits.ConnectionsPerUser,
			Input:                cfg.Limits.Input,
			Output:               cfg.Limits.Output,
			Arguments:            cfg.Limits.Arguments,
			SubscriptionsPerUser: cfg.Limits.SubscriptionsPerUser,
			PatternsPerUser:      cfg.Limits.PatternsPerUser,
			BuffersPerUser:       cfg.Limits.BuffersPerUser,
			LocksPerUser:         cfg.Limits.LocksPerUser,
			Retained:             cfg.Limits.Retained,
			RetainedBytes:        cfg.Limits.RetainedBytes,
			RetainedPerUser:      cfg.Limits.RetainedPerUser,
			RetainedBytesPerUser: cfg.Limits.RetainedBytesPerUser,
			FilesPerUser:         cfg.Limits.FilesPerUser,
			FileBytesPerUser:     cfg.Limits.FileBytesPerUser,
			RequestsPerUser:      cfg.Limits.RequestsPerUser,
			WillsPerUser:         cfg.Limits.WillsPerUser,
			Lease:                cfg.Limits.Lease,
		},
		Semaphores: cfg.Semaphores,
		BusyPoll:   cfg.Loop.BusyPoll,
	}
}

// ready runs in the loop's first turn.
func (d *daemon) ready() {
	d.log.Info("ready", "event", "ready", "sockets", strings.Join(d.paths(), " "))
	d.isReady <- struct{}{}
}

// paths are those of the sockets.
func (d *daemon) paths() []string {
	paths := make([]string, len(d.listeners))
	for i, l := range d.listeners {
		paths[i] = l.path
	}
	return paths
}

// tellLife tells the service manager that the daemon is ready, and that it stops: in this order, and with what reloads have to
// tell between them. It is called with the lock on reloads.
func (d *daemon) tellLife(ctx context.Context) {
	defer d.reloads.Unlock()
	select {
	case <-d.isReady:
		told, _ := d.storage.texts() // or more, if there is more by now
		d.tell(systemd.Ready, systemd.Status(d.summary()))
		d.work.Go(func() { d.mend(ctx, told) })
		d.reloads.Unlock()
		<-ctx.Done()
		d.reloads.Lock()
	case <-ctx.Done():
	}
	d.log.Info("stopping", "event", "stop")
	d.tell(systemd.Stopping)
}

// tell notifies the service manager, for which it may wait: not to be called by the loop. That nobody listens is no reason
// to do less for clients.
func (d *daemon) tell(states ...string) {
	if err := systemd.Notify(states...); err != nil {
		d.log.Warn("cannot tell the service manager", "event", "notify-failed", "state", states[0], "error", err)
	}
}

// warnOfDescriptors says if the kernel allows fewer connections than the configuration.
func (d *daemon) warnOfDescriptors(cfg *config.Config) {
	const others = 64 // sockets, epoll, files; and a pidfd for each process that has a lock
	var limit unix.Rlimit
	needed := uint64(cfg.Limits.Connections) + others
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < needed {
		d.log.Warn("fewer descriptors than limits.connections needs: set LimitNOFILE= of the unit, or ulimit -n", "event", "limits",
			"descriptors", limit.Cur, "needed", needed, "connections", cfg.Limits.Connections)
	}
}

// status is the daemon's part of IPCD.STATUS.
func (d *daemon) status() []server.Field {
	problem, damaged := d.storage.texts()
	d.mu.Lock()
	defer d.mu.Unlock()
	fields := []server.Field{
		{Key: "config", Value: describeFiles(d.cfg)},
		{Key: "config_source", Value: string(d.source)},
		{Key: "config_loaded", Value: d.loaded.UnixMicro()},
		{Key: "config_rejected", Value: inOneLine(d.rejected)},
		{Key: "state_dir", Value: d.flags.stateDir},
		{Key: "sockets_failed", Value: inOneLine(errors.Join(d.unbound...))},
		{Key: "state_problem", Value: problem},
		{Key: "state_damaged", Value: damaged},
	}
	for _, l := range d.listeners {
		fields = append(fields, server.Field{Key: "socket_" + l.name, Value: l.path})
	}
	return fields
}
