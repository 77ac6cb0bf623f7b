package daemon

import (
	"os"
	"strings"

	"github.com/ipcd/ipcd/internal/server"
	"github.com/ipcd/ipcd/internal/state"
)

// journalName is what the files of the journal of locks begin with.
const journalName = "locks"

// journalDir is where the journal is: in a unit in its runtime directory, which has no disk that one might wait for, and else in
// the state directory.
func (f *flags) journalDir() string {
	if f.ownState {
		return f.stateDir
	}
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" {
		return dir
	}
	return f.stateDir
}

// keep opens the journal in which locks outlive the daemon.
func (d *daemon) keep(setup *server.Setup) error {
	dir := d.flags.journalDir()
	if dir == "" {
		return nil
	}
	j, err := state.OpenJournal[server.Kept](dir, journalName, setup.BootID)
	if err != nil {
		return err
	}
	for _, err := range j.Damaged() {
		d.log.Error("the journal of locks was damaged", "event", "state-failed", "error", err)
	}
	setup.Kept, setup.Keep = j.Rows(), j
	return nil
}
