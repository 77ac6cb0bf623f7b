package conn

import (
	"errors"
	"iter"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
)

// A File is an open file that goes beside a message. All who are sent it share it here, and the last who gives it back closes it. What
// waits in the backlog of a connection is charged to the user who does not read.
type File struct {
	Size int // bytes of it that it keeps in memory; 0 if that is nothing, or not known

	set  *Set
	fd   int
	uid  uint32 // of whom it came from
	anew bool   // whoever is sent it has an open file description of his own
	refs int
}

// NewFile makes a File of a descriptor that a user's process has sent, with one reference, which is the caller's.
func (s *Set) NewFile(fd int, uid uint32, size int) *File {
	return &File{Size: size, set: s, fd: fd, uid: uid, refs: 1}
}

// OpenAnew has each who is sent the file be given an open file description of his own, which is for reading and at the beginning: with
// the one that came, all would share one position. It fails if the file cannot be opened again: then nothing has changed.
func (f *File) OpenAnew() error {
	fd, err := f.reopen()
	if err != nil {
		return err
	}
	f.anew = true
	return unix.Close(fd)
}

// reopen opens the file once more. That it is one whose opening cannot block is seen to by who has asked for it.
func (f *File) reopen() (int, error) {
	for {
		fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(f.fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// FD is the descriptor that came.
func (f *File) FD() int { return f.fd }

// UID is whose process has sent it.
func (f *File) UID() uint32 { return f.uid }

// Keep makes one more reference.
func (f *File) Keep() *File {
	f.refs++
	return f
}

// Release gives a reference back.
func (f *File) Release() {
	switch f.refs--; {
	case f.refs == 0:
		f.set.discard(f.fd, f.uid)
		f.fd = -1
	case f.refs < 0:
		panic("a file is given back that nobody has")
	}
}

// send sends a message with the file beside its first byte, if much is not waiting to be read there already: what lies in a socket holds
// the file, and nobody is charged for that.
func (f *File) send(c *Conn, msg []byte) (n int, err error) {
	if !c.set.kernel.HasRoom(int(c.fd)) {
		return 0, unix.EAGAIN
	}
	fd := f.fd
	if f.anew {
		if fd, err = f.reopen(); err != nil {
			return 0, err
		}
		defer func() { _ = unix.Close(fd) }() // the socket has it: this is not the last
	}
	return c.set.kernel.SendRights(int(c.fd), msg[:min(len(msg), maxWrite)], []int{fd})
}

// SendFile sends a message with a file beside it, behind all that the connection was sent before. If the socket does not take it now, the
// connection is blocked, for EnqueueFile, and the message is not sent. Nor is it after an error, which says why it cannot be.
func (c *Conn) SendFile(msg []byte, f *File) (sent bool, err error) {
	c.closeRange()
	c.flush()
	if c.Dead() || c.is(isBlocked) {
		return false, nil
	}
	n, err := f.send(c, msg)
	switch {
	case isFull(err):
		c.block(0)
		return false, nil
	case isGone(err):
		c.Kill(nil)
		return false, nil
	case err != nil:
		return false, err
	}
	if n < len(msg) {
		c.setBlocked()
		c.keep(msg, nil, 0)
		c.block(n)
		c.settleBlocked()
	}
	return true, nil
}

// isFull reports whether an error says that a socket has no room now.
func isFull(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// isGone reports whether an error says that nobody reads any more.
func isGone(err error) bool { return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) }

// EnqueueFile is Enqueue for a message with a file beside it.
func (c *Conn) EnqueueFile(msg []byte, f *File, seq uint64, of string) (taken bool, lost int) {
	return c.enqueue(msg, nil, f, seq, of)
}

// Miss has a connection miss a message of a subscription, and be told: now, or when there is room.
func (c *Conn) Miss(of string) {
	if c.is(isBlocked) {
		c.Lose(of)
	} else {
		c.Send(c.set.Pushes.AppendLoss(nil, c.owner.Proto(), of, 1))
	}
}

// tooMuchOf reports whether a file more is too much for a connection's user.
func (c *Conn) tooMuchOf(f *File) bool {
	return f != nil && (c.User().Exceeds(account.Files, 1) || c.User().Exceeds(account.FileBytes, f.Size))
}

// besides are the files that wait.
func (x *extras) besides() iter.Seq[*File] {
	return func(yield func(*File) bool) {
		for _, p := range x.parts {
			if p.file != nil && !yield(p.file) {
				return
			}
		}
		if x.queue != nil {
			x.queue.all.All(inAll, func(e *entry) bool { return e.file == nil || yield(e.file) })
		}
	}
}

// keepFile puts a message with a file beside it behind the backlog, in a part of its own: it goes out with the part's first byte.
func (c *Conn) keepFile(msg []byte, f *File, seq uint64) {
	if len(c.own) > 0 {
		c.shelve()
	}
	h := &c.more.shelf
	h.insert(len(h.parts), part{b: append([]byte(nil), msg...), seq: seq, file: f.Keep()})
	h.files++
	c.User().Count(account.Files, 1)
	c.User().Count(account.FileBytes, f.Size)
}

// giveBack gives the file of a part back, if it has one.
func (c *Conn) giveBack(p *part) {
	f := p.file
	if f == nil {
		return
	}
	p.file = nil
	c.more.files--
	c.User().Count(account.Files, -1)
	c.User().Count(account.FileBytes, -f.Size)
	f.Release()
}

// writeFile writes the first part of a backlog, which has a file beside it that is not sent. A file that cannot be sent is as one that was
// dropped. It reports how many bytes were taken, and whether the part stays the first.
func (c *Conn) writeFile() (n int, stays bool) {
	h := &c.more.shelf
	p := &h.parts[0]
	n, err := p.file.send(c, p.b)
	switch {
	case err == nil:
		c.giveBack(p)
		return n, true
	case isFull(err):
		return 0, true
	case isGone(err):
		c.Kill(nil)
		return 0, true
	}
	c.giveBack(p)
	whole := h.remove(0)
	of, lost, _ := c.set.Pushes.Loss(whole.b)
	h.insert(0, part{b: c.set.Pushes.AppendLoss(nil, protoOf(whole.b), string(of), lost)})
	c.set.free(whole)
	c.owner.Dropped(int(lost))
	return 0, false
}
