// Package cgroup looks at control groups: the one hierarchy of version 2, in which systemd keeps the processes of each unit
// together. A group is named by its path in that hierarchy, as the 0:: line of /proc/PID/cgroup has it.
//
// Every call is a few short system calls, fit for an event loop.
package cgroup

import (
	"bytes"
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// Root is where the hierarchy is mounted; "" if it is not.
var Root = sync.OnceValue(func() string {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} { // beside version 1
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir
		}
	}
	return ""
})

// IsFrozen reports whether the processes of a group are kept from running, as by systemctl freeze of its unit or of a slice that it
// is in.
func IsFrozen(path []byte) bool {
	root := Root()
	if root == "" || len(path) < len("/x") { // the root is never frozen
		return false
	}
	var buf [256]byte
	return bytes.Contains(read(buf[:], root+string(path)+"/cgroup.events"), []byte("frozen 1\n"))
}

// read reads the beginning of a file, nothing if there is none.
func read(buf []byte, name string) []byte {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	n, err := unix.Read(fd, buf)
	_ = unix.Close(fd)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// ErrNoHierarchy says that groups cannot be seen from here, which is not to say that there are none.
var ErrNoHierarchy = errors.New("cgroups of version 2 are not mounted at /sys/fs/cgroup")

// Open opens the directory of a group, and returns the number that no other group has for as long as the machine is up. If there
// is no such group the error is ENOENT; if there is no way to know, [ErrNoHierarchy].
func Open(path string) (fd int, id uint64, err error) {
	root := Root()
	if root == "" {
		return -1, 0, ErrNoHierarchy
	}
	fd, err = unix.Open(root+path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, 0, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, 0, err
	}
	return fd, st.Ino, nil
}

// IsGone reports whether a group was removed, whose directory is open. Nothing can be in it any more.
func IsGone(fd int) bool {
	return unix.Faccessat(fd, "cgroup.procs", unix.F_OK, 0) == unix.ENOENT
}

// Owner is the user that a group was given to: what is in it, and below, is his affair.
func Owner(fd int) (uid uint32, err error) {
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return st.Uid, err
}
