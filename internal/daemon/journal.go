package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/server"
	"github.com/ipcd/ipcd/internal/state"
)

// journalName is what the files of the journal of locks begin with.
const journalName = "locks"

// journalDir is the directory of the journal: that of --state-dir if the command line names one, else the runtime directory of
// the unit, which is in memory, so that who writes to the mapped file never waits for a disk; without a unit, the state directory.
func (f *flags) journalDir() string {
	if f.ownState {
		return f.stateDir
	}
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" {
		return dir
	}
	return f.stateDir
}

// A journal is where the server keeps its holds. It is the loop's.
type journal struct {
	*state.Journal[record.Record]
	d *daemon
}

// Apply notes how it went.
func (j *journal) Apply(records ...record.Record) error {
	err := j.Journal.Apply(records...)
	j.note()
	return err
}

func (j *journal) note() {
	j.d.note(journalName, j.Problem(), func() {
		j.d.server.Post(func() {
			j.Mend()
			j.note()
		})
	})
}

// openJournal opens the journal in which locks outlive the daemon. If it cannot be written the daemon begins with what can be read of
// it, and has another one later.
func (d *daemon) openJournal(setup *server.Setup) (err error) {
	dir := d.flags.journalDir()
	if dir == "" {
		return nil
	}
	if dir != d.flags.stateDir {
		if d.journalLock, err = state.LockDir(dir); decisive(err) {
			return err
		}
	}
	j, err := state.OpenJournal(dir, journalName, setup.BootID, decode)
	if decisive(err) {
		return err
	}
	if j != nil {
		for _, err := range j.Damaged() {
			d.found("the journal of locks was damaged", journalName, err)
		}
		setup.Records = j.Rows()
	}
	if err != nil {
		setup.Journal = noJournal{err}
		d.openJournalLater(dir, setup.BootID, err)
		return nil
	}
	k := &journal{Journal: j, d: d}
	k.note()
	setup.Journal = k
	return nil
}

// noJournal stands for the journal while it cannot be opened: nothing is kept, and so nothing is granted that should be.
type noJournal struct{ why error }

func (n noJournal) Apply(records ...record.Record) error {
	for i := range records {
		if !records[i].Over() {
			return n.why
		}
	}
	return nil
}
func (n noJournal) Room() error                    { return n.why }
func (n noJournal) Read() ([]record.Record, error) { return nil, n.why }

// decode makes a record of a row of the journal.
func decode(text []byte) (record.Record, error) {
	r, err := record.Decode(text)
	var newer *record.NewerError
	if errors.As(err, &newer) {
		err = fmt.Errorf("record %q: %w", newer.Kind, &state.NewerError{Format: newer.Version, Known: newer.Known})
	}
	return r, err
}

// openJournalLater opens the journal when that has become possible, and then has all that is held written to it.
func (d *daemon) openJournalLater(dir, boot string, err error) {
	d.note(journalName, err, func() {
		j, err := state.OpenJournal(dir, journalName, boot, decode)
		if err != nil {
			d.openJournalLater(dir, boot, err)
			return
		}
		k := &journal{Journal: j, d: d}
		k.note()
		d.server.SetJournal(k, j.Rows())
	})
}

// decisive reports whether an error has to end the daemon: to go on would do harm.
func decisive(err error) bool {
	var inUse *state.InUseError
	var newer *state.NewerError
	var unread *state.UnreadError // what is held by living processes would be free
	return errors.As(err, &inUse) || errors.As(err, &newer) || errors.As(err, &unread)
}
