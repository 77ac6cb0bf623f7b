package crash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/testenv"
)

// limited starts a daemon with so few descriptors.
func limited(descriptors int) []string {
	return []string{"prlimit", fmt.Sprintf("--nofile=%d", descriptors)}
}

// shortFiles starts a daemon that may not write files beyond so many bytes.
func shortFiles(bytes int) []string { return []string{"prlimit", fmt.Sprintf("--fsize=%d", bytes)} }

// failing starts a daemon of which some system calls fail: of each thread those that when picks (see strace(1)), on these
// files if there are any.
func (s *site) failing(call, errno, when string, files ...string) []string {
	words := []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", s.traced(), "-e", "trace=" + call}
	for _, f := range files {
		words = append(words, "-P", f)
	}
	return append(words, "-e", fmt.Sprintf("inject=%s:error=%s:when=%s", call, errno, when))
}

// killedAt starts a daemon that is killed when a thread of it begins a system call for the nth time: without filters of
// seccomp, with which strace may lose the signal.
func (s *site) killedAt(call string, n int) []string {
	return []string{
		"strace", "-D", "-f", "-qq", "-o", s.traced(), "-e", "trace=" + call, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n),
	}
}

// traced is where strace writes what it sees.
func (s *site) traced() string { return filepath.Join(s.Dir, "strace") }

// calls are the system calls in which a daemon may meet an error that says nothing about a process, and which.
var calls = map[string][]string{
	"openat":     {"EMFILE", "ENFILE", "ENOMEM", "EIO"},
	"read":       {"EIO", "ENOMEM"},
	"pidfd_open": {"EMFILE", "ENFILE", "ENOMEM"},
	"epoll_ctl":  {"ENOMEM", "ENOSPC"},
	"accept4":    {"EMFILE", "ENFILE", "ENOMEM"},
	"fallocate":  {"ENOSPC", "EIO"},
	"ftruncate":  {"EIO"},
	"mmap":       {"ENOMEM"},
	"getsockopt": {"EMFILE"}, // SO_PEERPIDFD
}

// onFiles are those that may fail only for files of ours: a Go program without memory has nobody to tell.
var onFiles = []string{"mmap", "ftruncate", "fallocate"}

// place picks which of the system calls of a thread is to fail. The first epoll_ctl is that of the Go runtime, which ends for it.
func (s *site) place(call string, most int) int {
	return firstPlace(call) + s.rng.IntN(most)
}

func firstPlace(call string) int {
	if call == "epoll_ctl" {
		return 2
	}
	return 1
}

// stateFiles are the regular files that the daemon leaves.
func (s *site) stateFiles() []string {
	s.t.Helper()
	var files []string
	entries, err := os.ReadDir(s.State())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != "lock" && e.Name() != filler {
			files = append(files, filepath.Join(s.State(), e.Name()))
		}
	}
	return files
}

// flipBit changes a bit of what is in a file.
func (s *site) flipBit(path string) {
	s.t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	// Where there is something: the file may be long, and mostly be nothing.
	var written []int64
	for at := int64(0); ; {
		if at, err = f.Seek(at, unix.SEEK_DATA); err != nil {
			break
		}
		page := make([]byte, 4096)
		n, _ := f.ReadAt(page, at)
		for i, b := range page[:n] {
			if b != 0 {
				written = append(written, at+int64(i))
			}
		}
		at += int64(len(page))
	}
	if written == nil {
		return
	}
	at := written[s.rng.IntN(len(written))]
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, at); err != nil {
		s.t.Fatal(err)
	}
	one[0] ^= 1 << s.rng.IntN(8)
	if _, err := f.WriteAt(one, at); err != nil {
		s.t.Fatal(err)
	}
	s.say("flipped a bit", filepath.Base(path), at)
}

// ownDisk puts the state directory on a small file system of its own. It is to be called before the daemon starts.
func (s *site) ownDisk() {
	s.t.Helper()
	testenv.Root(s.t)
	testenv.Allowed(s.t, "mount a file system", unix.Mount("tmpfs", s.State(), "tmpfs", 0, "size=16m,mode=700"))
	s.t.Cleanup(func() {
		if err := unix.Unmount(s.State(), unix.MNT_DETACH); err != nil {
			s.t.Error(err)
		}
	})
}

// filler takes all room of that file system.
const filler = "filler"

func (s *site) fill() {
	s.t.Helper()
	f, err := os.Create(filepath.Join(s.State(), filler))
	if err != nil {
		s.t.Fatal(err)
	}
	block := bytes.Repeat([]byte{1}, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	_ = f.Close()
	if !strings.Contains(err.Error(), unix.ENOSPC.Error()) {
		s.t.Fatal(err)
	}
}

func (s *site) makeRoom() {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.State(), filler)); err != nil {
		s.t.Fatal(err)
	}
}

// readOnly makes the state directory's file system so, or not any more. Nobody may have files of it open for writing.
func (s *site) readOnly(is bool) {
	s.t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if is {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("tmpfs", s.State(), "tmpfs", flags, ""); err != nil {
		s.t.Fatal(err)
	}
}
