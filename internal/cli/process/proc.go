package process

import (
	"bytes"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Process is what /proc says of one.
type Process struct {
	PID, parent int64
	Start       int64 // clock ticks after boot; with pid it names the process for ever
	Command     string
}

// Find looks a process up by its number.
func Find(pid int64) (Process, bool) {
	stat := ReadProc("/proc/" + strconv.FormatInt(pid, 10) + "/stat")
	// The second field is the command in parentheses, and may itself hold spaces and parentheses.
	left, right := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if left < 0 || right < left {
		return Process{}, false
	}
	rest := strings.Fields(string(stat[right+1:])) // from the third field on
	if len(rest) < 20 {
		return Process{}, false
	}
	parent, _ := strconv.ParseInt(rest[4-3], 10, 64)
	start, _ := strconv.ParseInt(rest[22-3], 10, 64)
	return Process{pid, parent, start, string(stat[left+1 : right])}, start > 0
}

// Open opens a pidfd of a process by its number. If there is none of that number, the error is ESRCH, also if a thread has it.
func Open(pid int) (pidfd int, err error) {
	pidfd, err = unix.PidfdOpen(pid, 0)
	if err != nil && unix.Tgkill(pid, pid, 0) == unix.ESRCH { // of a thread it is ENOENT, or EINVAL on older kernels
		err = unix.ESRCH
	}
	return pidfd, err
}

// OthersHidden reports whether /proc hides the processes of other users, as its option hidepid has it: it does not show the first
// one, which is always there.
func OthersHidden() bool {
	_, self := Find(int64(os.Getpid()))
	_, first := Find(1)
	return self && !first
}

// Ancestors are a process and those that it descends from, as far as they are still there.
func Ancestors(pid int64) iter.Seq[Process] {
	return func(yield func(Process) bool) {
		for pid > 0 {
			p, ok := Find(pid)
			if !ok || !yield(p) {
				return
			}
			pid = p.parent
		}
	}
}

// ReadProc reads a file of /proc, or the beginning of a long one; nil if there is none. (os.ReadFile would set up the runtime's
// poller first.)
func ReadProc(path string) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 4096)
	for len(b) < 1<<16 {
		b = slices.Grow(b, 1024)
		n, err := unix.Read(fd, b[len(b):cap(b)])
		if err != nil {
			return nil
		}
		if n == 0 {
			break
		}
		b = b[:len(b)+n]
	}
	return b
}

// CommandOf is the command's name of the process that had this number when it started then, or "".
func CommandOf(pid, start int64) string {
	if p, ok := Find(pid); ok && p.Start == start {
		return p.Command
	}
	return ""
}

// users are the names of users that were looked up.
var users map[int64]string

// UserName is the name of a user in /etc/passwd, or his number: asking the directory service behind it would take
// longer than everything else.
func UserName(uid int64) string {
	if uid == 0 {
		return "root"
	}
	if users == nil {
		users = readUsers("/etc/passwd")
	}
	if name := users[uid]; name != "" {
		return name
	}
	return strconv.FormatInt(uid, 10)
}

func readUsers(file string) map[int64]string {
	names := map[int64]string{}
	b, err := os.ReadFile(file)
	if err != nil {
		return names // numbers will do
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 4 {
			continue
		}
		if uid, err := strconv.ParseInt(f[2], 10, 64); err == nil && names[uid] == "" {
			names[uid] = f[0]
		}
	}
	return names
}
