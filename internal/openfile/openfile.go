// Package openfile is what can be known of an open file that somebody else has opened, without waiting for anybody: its file system may be a
// program of that somebody (FUSE), or on another machine. So nothing is asked of it but what the kernel knows by itself.
package openfile

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An About is what is known of an open file.
type About struct {
	Size   int64 // of a regular file; -1: it is none, or nobody knows
	Memory bool  // it is in memory, and nowhere else

	mode  uint16
	seals int
	err   error // why it has no seals
}

// Look looks at an open file.
func Look(fd int) About {
	var a About
	a.seals, a.err = unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	a.Memory = a.err == nil
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_SIZE, &st)
	if a.Size = int64(st.Size); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || a.Size < 0 {
		a.Size = -1
	}
	a.mode = st.Mode
	return a
}

// allSeals are those of a file that nobody can change any more, the seals included.
var allSeals = []struct {
	seal int
	name string
}{
	{unix.F_SEAL_SHRINK, "F_SEAL_SHRINK"}, {unix.F_SEAL_GROW, "F_SEAL_GROW"}, {unix.F_SEAL_WRITE, "F_SEAL_WRITE"}, {unix.F_SEAL_SEAL, "F_SEAL_SEAL"},
}

// Sealed is nil if nobody can change the file any more, or cut it short. Else it says why not. Such a file is in memory.
func (a *About) Sealed() error {
	var missing []string
	for _, s := range allSeals {
		if a.seals&s.seal == 0 {
			missing = append(missing, s.name)
		}
	}
	switch {
	case errors.Is(a.err, unix.EBADF):
		return errors.New("it was opened by O_PATH")
	case a.err != nil:
		return fmt.Errorf("it is %s", a.kind())
	case len(missing) > 0:
		return fmt.Errorf("it lacks %s, so it could change while others read it", strings.Join(missing, ", "))
	case a.Size < 0:
		return errors.New("its size is not known")
	}
	return nil
}

// kind is what a file is that is no memfd.
func (a *About) kind() string {
	switch a.mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a file of a file system"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return "nothing with bytes in it"
}

// Contents are the first bytes of a sealed file, whatever its position. They are nil if that fails, or if not all of them are resident: to
// read them would be to wait for a disk.
func Contents(fd, size int) []byte {
	if !isResident(fd, size) {
		return nil
	}
	b := make([]byte, size)
	for at := 0; at < size; {
		n, err := unix.Pread(fd, b[at:], int64(at))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n == 0:
			return nil
		default:
			at += n
		}
	}
	return b
}

// isResident reports whether the first bytes of a file are in memory, and not swapped out.
func isResident(fd, size int) bool {
	if size == 0 {
		return true
	}
	mapping, err := unix.Mmap(fd, 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Munmap(mapping) }()
	pages := make([]byte, (size+unix.Getpagesize()-1)/unix.Getpagesize())
	_, _, errno := unix.RawSyscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(mapping))), uintptr(size),
		uintptr(unsafe.Pointer(unsafe.SliceData(pages))))
	if errno != 0 {
		return false
	}
	for _, p := range pages {
		if p&1 == 0 {
			return false
		}
	}
	return true
}
