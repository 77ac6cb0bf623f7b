package process

import (
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

// A Runner runs CMD for messages, so many at a time, and starts them in the order in which it is given messages.
//
// Whoever deals with ipcctl deals with the CMDs that run: a signal that would end ipcctl is passed on to them, and no other one begins.
// When all have ended, ipcctl dies of the signal, whatever it is doing by then.
type Runner struct {
	file    string
	argv    []string
	slots   chan struct{} // has an element for each CMD that runs
	tasks   sync.WaitGroup
	signals chan os.Signal

	mu      sync.Mutex
	witness witness
	running map[*os.Process]signalSet // what had come to the group before the CMD was there, and is not passed on yet
	leaving bool                      // a signal has come
	err     error                     // of the last CMD that failed
}

// NewRunner looks for CMD, which it is to run for messages.
func NewRunner(command []string, jobs int) (*Runner, error) {
	file, err := LookPath(command[0])
	if err != nil {
		return nil, err
	}
	r := &Runner{
		file: file, argv: command, slots: make(chan struct{}, jobs), signals: make(chan os.Signal, 16),
		witness: newWitness(), running: map[*os.Process]signalSet{},
	}
	Catch(r.signals, Leaving)
	go r.watch()
	return r, nil
}

// watch passes signals on, and has the first be the end.
func (r *Runner) watch() {
	for s := range r.signals {
		number, ok := s.(syscall.Signal)
		if !ok {
			continue
		}
		r.mu.Lock()
		group := r.witness.saw(number)
		for p, early := range r.running {
			if !group || early.has(number) || !inGroup(p) {
				_ = p.Signal(s) // or it has ended
			}
			r.running[p] = early &^ setOf(number)
		}
		first := !r.leaving
		r.leaving = true
		r.mu.Unlock()
		if first {
			go func() {
				r.tasks.Wait()
				r.witness.dismiss()
				Die(s)
			}()
		}
	}
}

// Slot waits until one more CMD may run; Start takes the place. After a deadline, unless that is zero, it fails with
// os.ErrDeadlineExceeded.
func (r *Runner) Slot(deadline time.Time) error {
	select {
	case r.slots <- struct{}{}: // one that is free is taken also when the time is over
		<-r.slots
		return nil
	default:
	}
	var over <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case r.slots <- struct{}{}:
		<-r.slots
		return nil
	case <-over:
		return os.ErrDeadlineExceeded
	}
}

// Start runs CMD for a message, of which it gets the payload on its standard input, or the file if there is one: that stays the caller's.
func (r *Runner) Start(payload string, file *os.File, environment []string) error {
	stdin := file
	if stdin == nil {
		var err error
		if stdin, err = payloadFile(payload); err != nil {
			return exit.Cannot("hand over a payload", err)
		}
		defer stdin.Close()
	}
	r.slots <- struct{}{}
	p, err := r.spawn(stdin, environment)
	if err != nil {
		<-r.slots
		return err
	}
	go r.attend(p)
	return nil
}

// spawn has a CMD run, unless a signal has come.
func (r *Runner) spawn(stdin *os.File, environment []string) (*os.Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stay()
	return r.begin(stdin, environment)
}

// begin has a CMD run.
func (r *Runner) begin(stdin *os.File, environment []string) (*os.Process, error) {
	early := r.witness.pending()
	p, err := Spawn(r.file, r.argv, Environment(environment), stdin)
	if err == nil {
		r.running[p] = early
		r.tasks.Add(1)
	}
	return p, err
}

// stay does not return if a signal has come, of which this process is to die.
func (r *Runner) stay() {
	if r.leaving {
		r.mu.Unlock()
		select {}
	}
}

// attend waits for the end of a CMD.
func (r *Runner) attend(p *os.Process) {
	status, err := Ended(p)
	if err == nil && status != 0 {
		err = status
	}
	r.mu.Lock()
	delete(r.running, p)
	if err != nil {
		r.err = err
	}
	r.mu.Unlock()
	<-r.slots
	r.tasks.Done()
}

// Wait returns when no CMD runs any more, with the failure of the last that failed.
func (r *Runner) Wait() error {
	r.tasks.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stay()
	r.witness.dismiss()
	return r.err
}

// Environment is that of this process with variables of a CMD's own, which take the place of those that have their names.
func Environment(own []string) []string {
	inherited := slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, name+"=") })
	})
	return append(inherited, own...)
}

// payloadFile is a file in memory that holds a payload. Unlike a pipe it needs nobody to write into it while CMD runs, and
// a CMD that does not read it bothers no one.
func payloadFile(payload string) (*os.File, error) {
	fd, err := unix.MemfdCreate("payload", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "payload")
	if _, err = f.WriteString(payload); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
