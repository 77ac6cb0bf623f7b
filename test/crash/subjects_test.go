package crash

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
)

// Each of these brings about one fault while processes hold locks, and wants all of them to be holders still when it is over.

// again starts the daemon in good order, and looks at all holders.
func (s *site) again() {
	s.t.Helper()
	s.begin()
	s.verify()
}

// intruder asks for a lock that is held, without waiting, and must be refused.
func (s *site) intruder(name string) {
	s.t.Helper()
	w := s.start(&worker{want: want{names: []string{name}, units: 1}, refused: []int{exitBusy}}, "lock", "-n")
	<-w.exited
	s.check()
}

// works fails the test unless a lock can be had.
func (s *site) works() {
	s.t.Helper()
	w := s.start(&worker{want: want{names: []string{"works"}, units: 1}}, "lock")
	<-w.exited
	s.check()
}

func TestKilledAndStopped(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(map[bool]string{false: "its own socket", true: "a socket that stays"}[kept], func(t *testing.T) {
			s := newSite(t, 1)
			if kept {
				s.keepSocket()
			}
			s.begin()
			s.holders(5)
			s.crash()
			s.again()
			s.deaths++
			s.say("down", "stopped")
			s.Stop()
			s.again()
			s.works()
		})
	}
}

func TestOutOfDescriptorsAtRestart(t *testing.T) {
	s := newSite(t, 1)
	s.begin()
	s.holders(30)
	s.crash()
	s.withFault("few descriptors", limited(33), nil)
	s.again()
	s.works()
}

// Whatever number of descriptors there is, the last one is missing for something.
func TestEachNumberOfDescriptors(t *testing.T) {
	step := 1
	if *positions == 0 {
		step = 3
	}
	s := newSite(t, 1)
	s.begin()
	s.holders(8)
	s.crash()
	for n := 8; n < 28; n += step {
		s.withFault("few descriptors", limited(n), nil)
	}
	s.again()
	s.works()
}

// Each error in each system call of a daemon that takes up holds, one by one: with -positions at
// each of the first so many places, and without it at one that is another in each run.
func TestErrorsAtTakeUp(t *testing.T) {
	testenv.Need(t, "strace")
	for call, errors := range calls {
		t.Run(call, func(t *testing.T) {
			s := newSite(t, seed())
			s.keepSocket()
			s.begin()
			s.holders(4)
			s.crash()
			var files []string
			for _, name := range onFiles {
				if name == call {
					files = s.stateFiles()
				}
			}
			if *positions == 0 {
				at := s.place(call, 12)
				errno := errors[s.rng.IntN(len(errors))]
				s.withFault(call, s.failing(call, errno, fmt.Sprint(at), files...), nil)
				s.again()
				return
			}
			for _, errno := range errors {
				for at := firstPlace(call); at <= *positions; at++ {
					s.withFault(call, s.failing(call, errno, fmt.Sprint(at), files...), nil)
					s.again()
					s.crash()
				}
			}
			s.again()
			s.works()
		})
	}
}

func TestFlippedBit(t *testing.T) {
	s := newSite(t, seed())
	s.begin()
	s.holders(5)
	for _, path := range s.stateFiles() {
		for range 2 {
			s.crash()
			if _, err := os.Stat(path); err == nil { // else it was set aside, and the daemon ended before it was written anew
				s.flipBit(path)
			}
			s.again()
			s.works()
		}
	}
}

func TestMissingFile(t *testing.T) {
	s := newSite(t, 1)
	s.begin()
	s.holders(5)
	for _, path := range s.stateFiles() {
		s.crash()
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		s.say("removed", path)
		s.again()
		s.works()
	}
}

// Something else is in a file's place: the daemon starts, and with what it has elsewhere no hold is lost.
func TestNoFile(t *testing.T) {
	for what, put := range map[string]func(path string) error{
		"a FIFO":             func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a directory":        func(path string) error { return os.Mkdir(path, 0o700) },
		"a symbolic link":    func(path string) error { return os.Symlink("/etc/passwd", path) },
		"an empty file":      func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"some other content": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", 9999)), 0o600) },
	} {
		t.Run(what, func(t *testing.T) {
			s := newSite(t, 1)
			s.begin()
			s.holders(3)
			for _, path := range s.stateFiles() {
				s.crash()
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := put(path); err != nil {
					t.Fatal(err)
				}
				s.say("instead of a file:", what, path)
				s.again()
				s.works()
				s.crash()
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				s.again()
			}
		})
	}
}

func TestFullDirectory(t *testing.T) {
	s := newSite(t, 1)
	s.ownDisk()
	s.begin()
	s.holders(5)
	s.crash()
	s.fill()
	s.begin()
	s.verify()
	s.intruder("held/0")
	s.crash()
	s.again()
	s.makeRoom()
	s.crash()
	s.again()
	s.works()
}

// What is granted while there is no room is kept, or not granted.
func TestFullDirectoryMeanwhile(t *testing.T) {
	s := newSite(t, 1)
	s.ownDisk()
	s.begin()
	s.holders(3)
	s.faulty = true // who cannot be kept may be told so
	s.fill()
	var late []*worker
	for i := range 300 { // more than there is room for in what the journal has already
		w := s.start(&worker{want: want{names: []string{fmt.Sprintf("late/%d", i)}, units: 1}, stays: true}, "lock", "-m", strings.Repeat("w", 250))
		late = append(late, w)
	}
	s.await("all are answered", func(lines []line) bool {
		n := 0
		for _, l := range lines {
			if l.words[0] == "in" || l.words[0] == "end" {
				n++
			}
		}
		return n == len(late)+3
	})
	s.faulty = false
	s.crash()
	s.again()
	s.makeRoom()
	s.crash()
	s.again()
	s.works()
}

func TestReadOnlyDirectory(t *testing.T) {
	s := newSite(t, 1)
	s.ownDisk()
	s.begin()
	s.holders(5)
	s.crash()
	s.readOnly(true)
	s.withFault("a directory that is read only", nil, func(bool) { s.intruder("held/0") })
	s.readOnly(false)
	s.again()
	s.works()
}

func TestShortFiles(t *testing.T) {
	for _, bytes := range []int{0, 4096, 1 << 20} {
		t.Run(fmt.Sprint(bytes), func(t *testing.T) {
			s := newSite(t, 1)
			s.begin()
			s.holders(5)
			s.crash()
			s.withFault("short files", shortFiles(bytes), func(ready bool) {
				if !ready {
					t.Error("the daemon did not start")
				}
			})
			s.again()
			s.works()
		})
	}
}

// A start that fails is no reason to lose what is held.
func TestFailedStart(t *testing.T) {
	s := newSite(t, 1)
	s.begin()
	s.holders(5)
	s.crash()
	for _, toml := range []string{"nonsense", "[limits]\nconnections = -1\n"} {
		s.Configure(toml)
		s.withFault("a wrong configuration", nil, nil)
	}
	s.Configure("")
	s.again()
	s.works()
}

// A mark that was forgotten because there are so many does not come back with the daemon.
func TestForgottenMark(t *testing.T) {
	s := newSite(t, 1)
	s.history.exact = false // how a hold ended is forgotten, too
	s.begin()
	w := s.hold("x")
	s.entered(w)
	s.kill(w)
	p := s.Dial(t)
	for i := range 1100 {
		if got := p.Do("LOCK.ACQUIRE", fmt.Sprintf("other/%d", i)); got[0] != '*' {
			t.Fatalf("got %q", got)
		}
		p.Do("LOCK.RELEASE", fmt.Sprintf("other/%d", i))
	}
	for range 2 {
		<-s.start(&worker{want: want{names: []string{"x"}, units: 1}}, "lock").exited
	}
	s.check()
	_ = p.Close()
	s.crash()
	s.begin()
	w = s.start(&worker{want: want{names: []string{"x"}, units: 1}}, "lock", "--on-abandoned=fail")
	<-w.exited
	s.check()
}

// The daemon is killed at each answer that it sends, after the change is recorded: who asks anew has what he was granted.
func TestKilledAtEachAnswer(t *testing.T) {
	testenv.Need(t, "strace")
	s := newSite(t, 1)
	s.keepSocket()
	s.Run()
	for n := 1; n <= 6; n++ {
		s.crash()
		s.Under(s.killedAt("sendto", n)...)
		s.say("fault", "killed at answer", n)
		s.Run()
		s.Under()
		var all []*worker // who are granted the lock in turn, or are cut off once, and ask again
		for range 2 {
			w := s.hold("x")
			s.letGo(w)
			all = append(all, w)
		}
		var asking sync.WaitGroup // for more answers, until it dies
		var dead atomic.Bool
		asking.Go(func() {
			for !dead.Load() {
				s.run("locks")
			}
		})
		s.deaths++
		s.Wait()
		dead.Store(true)
		s.say("down", "killed")
		s.begin()
		for _, w := range all {
			<-w.exited
		}
		asking.Wait()
		s.check()
	}
}
