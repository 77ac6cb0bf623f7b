package daemon

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/server"
	"github.com/ipcd/ipcd/internal/state"
	"github.com/ipcd/ipcd/systemd"
)

// journalName is what the journal of locks goes by: with systemd, and in the state directory.
const journalName = "locks"

// keep opens the journal in which locks outlive the daemon. In a unit it is a memfd, of which systemd has a copy as long as the
// unit is not stopped for good: a mapped file may make who writes to it wait for the disk. Else it is one all the same, in the
// state directory. The journal is taken from the files that systemd
// passed, and the others are returned.
func (d *daemon) keep(setup *server.Setup, passed []systemd.File) (others []systemd.File, err error) {
	var file *os.File
	for _, f := range passed {
		switch {
		case f.Name != journalName:
			others = append(others, f)
		case file == nil:
			file = f.File
		default:
			_ = f.Close()
		}
	}
	switch {
	case file != nil:
	case d.alive != nil && systemd.Started():
		fd, err := unix.MemfdCreate("ipcd-"+journalName, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
		if err == unix.EINVAL { // before Linux 6.3
			fd, err = unix.MemfdCreate("ipcd-"+journalName, unix.MFD_CLOEXEC)
		}
		if err != nil {
			return others, err
		}
		file = os.NewFile(uintptr(fd), journalName)
		if err := d.alive.Store(journalName, fd); err != nil {
			d.log.Warn("a restart will end the locks that are held", "event", "state-failed", "error", err)
		}
	case d.flags.stateDir != "":
		path := filepath.Join(d.flags.stateDir, journalName)
		if file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600); err != nil {
			return others, err
		}
	default:
		return others, nil
	}
	j, err := state.OpenJournal(file, setup.BootID, server.CheckKept)
	if err != nil {
		return others, err
	}
	if err := j.Corrupt(); err != nil {
		d.log.Error("the journal of locks was damaged: those that were held are free", "event", "state-failed", "error", err)
	}
	setup.Kept, setup.Keep = j.Rows(), j
	return others, nil
}
