package ipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
)

// What the file beside a message is: see [Message].
const (
	FileSealed = wire.FileSealed // a file in memory that nobody can change any more, and that no other receiver moves the position of
	FileOpen   = wire.FileOpen   // what its publisher has opened, as it is
)

const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// Seal copies all that r has, from where it is, to a file in memory, and seals that: nobody can change it any more, so it can be published
// with [SealedFile]. The caller closes it. copied, unless it is nil, is told now and then how many bytes are copied, also while the kernel
// does not let them be sealed yet, and ends that by an error.
func Seal(r io.Reader, copied func(bytes int64) error) (*os.File, error) {
	if copied == nil {
		copied = func(int64) error { return nil }
	}
	fd, err := unix.MemfdCreate("ipcd", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memfd:ipcd")
	size, err := fill(f, r, copied)
	if err == nil {
		err = seal(fd, func() error { return copied(size) })
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fill copies to a file, without a detour if the kernel can, and returns how many bytes that are.
func fill(to *os.File, from io.Reader, copied func(int64) error) (total int64, err error) {
	const part = 4 << 20
	for {
		n, err := io.CopyN(to, from, part)
		total += n
		if n > 0 {
			if err := copied(total); err != nil {
				return total, err
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// sealAttempts is how often it is tried to seal a file. The kernel takes 150 ms to refuse, so that is three seconds.
const sealAttempts = 20

// errInUse is no error of the system that a caller could act on: what he had to read is read.
var errInUse = errors.New("cannot seal a file in memory: the kernel says that somebody may still write to it (EBUSY)")

// seal has nobody be able to change a file any more. The kernel refuses that as long as anything has a page of the file in use, as it might
// be written to. Nobody else has this file, so it is the kernel itself, which moves the page or looks for memory to be freed, and may have
// no CPU to go on with beside programs of real-time priority. It waits for that, and gives up too soon. Between two attempts again is
// called, which may end that by an error.
func seal(fd int, again func() error) error {
	for range sealAttempts {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, allSeals)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("cannot seal a file in memory: %w", err)
		}
		if err := again(); err != nil {
			return err
		}
	}
	return errInUse
}

// IsSealed reports whether an open file is one that nobody can change any more, as [Seal] makes them.
func IsSealed(f *os.File) bool {
	sealed := false
	_ = control(f, func(fd int) error {
		seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		sealed = err == nil && seals&allSeals == allSeals
		return nil
	})
	return sealed
}

// control calls f with the descriptor of a file, and leaves that as it is: File.Fd may have it block.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// TakeFiles has descriptors be taken that come beside what is received: see [Conn.Message]. It is to be called before BUS.SUB is sent
// with FD.
func (c *Conn) TakeFiles() { c.socket.files, c.socket.each = &c.files, true }

// Message is [DecodeMessage] for a push that was received just now, with the file that has come with it.
func (c *Conn) Message(v wire.Value) (Message, bool) {
	m, ok := DecodeMessage(v)
	if ok && m.beside {
		m.File = takeFile(&c.files)
	}
	return m, ok
}

// takeFile takes the first descriptor that came; nil if that is missing, as this process could have no more.
func takeFile(fds *[]int) *os.File {
	if len(*fds) == 0 {
		return nil
	}
	fd := (*fds)[0]
	*fds = (*fds)[1:]
	if fd < 0 {
		return nil
	}
	return os.NewFile(uintptr(fd), "file of a message")
}

// closeFiles closes descriptors that nobody took.
func closeFiles(fds *[]int) {
	for _, fd := range *fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	*fds = nil
}

// SealedFile has a message be a file that nobody can change any more, as [Seal] makes it. It is not copied, however many receive it: who
// takes files, see [Files], is given it anew, with a position of its own. Others receive what is in it if that is 1 MiB at most, and else the
// payload. It does not go with [Retain]. The file stays the caller's.
func SealedFile(f *os.File) PublishOption {
	return func(o *publishOptions) { o.file, o.kind = f, FileSealed }
}

// OpenFile has any open file, as a pipe or a socket, go beside a message to those who take files, as it is: all share its position. The file
// stays the caller's.
func OpenFile(f *os.File) PublishOption {
	return func(o *publishOptions) { o.file, o.kind = f, FileOpen }
}

// Files has a subscription take the files that are beside messages: see [Message]. Of those that are not taken out of it yet there are 64
// at most; more count as messages that are lost. What it drops, and what is left when it is closed, it closes.
func Files() SubscribeOption { return func(s *Subscription) { s.words.files = true } }

// mostHeld is how many files a subscription keeps.
const mostHeld = 64

// roundTripFile is roundTrip for a command with a file beside it. The daemon takes a few of them at a time.
func (c *Client) roundTripFile(ctx context.Context, file *os.File, encode func([]byte) []byte) (v wire.Value, err error) {
	select {
	case c.files <- struct{}{}:
	case <-c.done:
		return v, c.Err()
	case <-ctx.Done():
		return v, ctx.Err()
	}
	cl := newCall()
	err = control(file, func(fd int) (err error) {
		cl.fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) // it goes when it does, and the caller may close its own
		return err
	})
	if err == nil {
		if err = c.start(ctx, cl, encode); err == nil {
			return cl.wait(ctx)
		}
		_ = unix.Close(cl.fd)
	}
	<-c.files
	return v, err
}

// shareFile gives a message with a file to subscriptions, each with one of its own.
func shareFile(m Message, all []*Subscription) {
	for i, s := range all {
		own := m
		if m.File != nil && i < len(all)-1 { // the last has the one that came, and may close it at once
			own.File = again(m)
		}
		s.deliver(own)
	}
	if len(all) == 0 {
		m.close()
	}
}

// again opens the file of a message once more, or is the same open file where that is what it is; nil if that fails.
func again(m Message) *os.File {
	other := -1
	_ = control(m.File, func(fd int) (err error) {
		other = -1
		if m.FileKind == FileSealed {
			other, err = unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if other < 0 {
			other, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		}
		return err
	})
	if other < 0 {
		return nil
	}
	return os.NewFile(uintptr(other), m.File.Name())
}
