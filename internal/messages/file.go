package messages

import (
	"math"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/openfile"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A message may have an open file beside it: its publisher sends a descriptor with BUS.PUB, and who has asked for that by BUS.SUB gets one
// with the push. So what is large is copied once, by its publisher, however many get it.
//
// What they get is told: a sealed file is one that nobody can change or cut short any more, which the daemon has seen to, and each who gets
// it has an open file description of his own, for reading, at its beginning. An open file is what its publisher has opened, as it is: it may
// be of any type, may change, and has one position for all.
//
// Who has not asked for files gets the payload in the command, or, if the file is sealed and not large, the bytes that are in it.
//
// The loop must not wait for a file. It may be one of a file system that is a program of the peer, so nothing is asked of it that is not
// known in the kernel, unless it is a sealed file, which is memory.

// A file is what is beside a message.
type file struct {
	*conn.File
	kind   string // wire.FileSealed or wire.FileOpen
	size   int64  // -1: it has none
	looked bool   // bytes are read, if they are to be
	bytes  []byte // all that is in it; nil: it is not for those who do not take files
}

// most is what a file is charged as at most: more than anybody may have.
const most = min(1<<41, math.MaxInt/2)

// takeFile takes the descriptor that came with a call to publish. It is nil, and the reply says why, if that is not as the call says.
func (s *Service) takeFile(c *session.Call, kind string) *file {
	sess := c.Session
	fd := sess.TakeFD()
	if fd < 0 {
		c.Fail(wire.CodeErr, "FD wants a descriptor sent along (SCM_RIGHTS), and none came: %s connected, and a relay (socat, ssh -L, systemd-socket-proxyd) drops it",
			session.ProcessName(&sess.Peer))
		return nil
	}
	about := openfile.Look(fd)
	if kind == wire.FileSealed {
		if err := about.Sealed(); err != nil {
			sess.Discard(fd)
			c.Fail(wire.CodeErr, "FD sealed wants a memfd with the seals F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE and F_SEAL_SEAL, and %v", err)
			return nil
		}
	}
	f := &file{kind: kind, size: about.Size}
	memory := 0
	if about.Memory {
		memory = int(min(max(about.Size, 0), most))
	}
	f.File = s.set.Net.NewFile(fd, sess.User().UID(), memory)
	if kind == wire.FileSealed {
		switch err := f.OpenAnew(); {
		case err == nil:
		case session.ProcessCode(err) == wire.CodeQuota:
			c.Fail(wire.CodeQuota, "the daemon has no file descriptor left for the file: %v", err)
			f.Release()
			return nil
		default: // there is no /proc, or the file is for its owner alone: all share the one that came, and are told no more than that
			f.kind = wire.FileOpen
		}
	}
	return f
}

// isTold reports whether those who get a message without its file are told that there is one.
func (m *message) isTold() bool { return m.file != nil && (m.beside || m.file.contents() == nil) }

// text is what a message says to those that it is encoded for.
func (m *message) text() []byte {
	if m.file != nil && !m.beside {
		if b := m.file.contents(); b != nil {
			return b
		}
	}
	return m.payload
}

// contents are the bytes of a sealed file that is not large, and in memory; nil if it is none. It is read once.
func (f *file) contents() []byte {
	if !f.looked {
		f.looked = true
		if f.kind == wire.FileSealed && f.size <= wire.MaxFileRead {
			f.bytes = openfile.Contents(f.FD(), int(f.size))
		}
	}
	return f.bytes
}

// withoutFile has a copy of a message say what those are told who do not get its file, when that is gone.
func (m *message) withoutFile() {
	if m.file == nil {
		return
	}
	m.payload = m.text()
	if m.isTold() {
		m.file = &file{kind: m.file.kind, size: m.file.size, looked: true}
	} else {
		m.file = nil
	}
}

// A taker is what there is of a session that takes files.
type taker struct {
	filters map[string]struct{} // of the subscriptions that they come by
}

// setTakesFiles says whether files come by a session's subscription to a filter.
func (s *Service) setTakesFiles(sess *session.Session, filter string, takes bool) {
	if takes {
		t := s.takers.In(sess)
		if t.filters == nil {
			t.filters = map[string]struct{}{}
		}
		t.filters[filter] = struct{}{}
	} else if t := s.takers.Of(sess); t != nil {
		delete(t.filters, filter)
	}
}

// takesFiles reports whether files come to a session by a route. They do not on RESP2, which it may have come back to.
func (s *Service) takesFiles(sess *session.Session, r *bus.Route[*session.Session]) bool {
	t := s.takers.Of(sess)
	if t == nil || r.Kind != bus.Filter || sess.Proto() == wire.RESP2 {
		return false
	}
	_, ok := t.filters[r.Text]
	return ok
}

// fileCost is for how many bytes it counts that somebody is sent a file: as much is copied in that time.
const fileCost = 8 << 10

// keepApart has those who take the message's file be sent nothing more together with those who do not.
func (s *Service) keepApart(m *message, r *bus.Route[*session.Session], subs []*session.Session) {
	if m.file == nil {
		return
	}
	for _, sess := range subs {
		if s.takesFiles(sess, r) {
			sess.Unfollow()
		}
	}
}

// appendBeside encodes a message as those get it who get its file.
func (m *message) appendBeside(b []byte, r *bus.Route[*session.Session]) []byte {
	with := *m
	with.beside = true
	return with.append(b, wire.RESP3, r.Kind, r.Text)
}

// giveFile gives a message with its file to one who takes files.
func (s *Service) giveFile(r *bus.Route[*session.Session], sess *session.Session, m *message, seq uint64) (delivered, dropped int) {
	s.alone = m.appendBeside(s.alone[:0], r)
	if !sess.Blocked() {
		sent, err := sess.SendFile(s.alone, m.file.File)
		switch {
		case sent:
			return 1, 0
		case err != nil: // no descriptor is left, or too many are under way
			sess.Miss(r.Text)
			sess.Lost(1)
			return 0, 1
		case sess.Dead():
			return 0, 0
		}
	}
	ok, lost := sess.EnqueueFile(s.alone, m.file.File, seq, r.Text)
	if lost > 0 {
		sess.Lost(lost)
	}
	if ok {
		delivered = 1
	}
	return delivered, lost
}
