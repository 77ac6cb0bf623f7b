package server

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// stop begins the end of the server.
func (s *Server) stop() {
	if s.set.Stopping {
		return
	}
	s.announceStopping()
	s.set.Stopping = true
	s.set.Users.Unbound()
	s.set.Net.Last(s.stopLate)
	s.stopBy = s.set.Now() + longestStop
	s.stopTime.Set(s.stopBy)
	s.wills.Stop()
	s.messages.Stop()
	s.asking.Stop()
	s.closeListeners()
	s.locks.Stop()
	for sess := range s.set.All() {
		if !s.stopLate() {
			sess.ExecuteRest() // no lock is waited for any more
		}
	}
	for sess := range s.set.All() {
		if sess.Ending() {
			continue
		}
		if sess.Proto() == wire.RESP3 {
			b := sess.Proto().AppendPush(nil, 2)
			b = wire.AppendBulk(b, "ipcd.goodbye")
			b = wire.AppendBulk(b, "the daemon is stopping")
			sess.Send(b)
		}
		if !sess.Is(session.Saving) { // else it is answered first: see session.Answer
			sess.Finish()
		}
	}
}

// stopLate reports whether the time is over in which a stop executes what was read; the rest of it is for the answers.
func (s *Server) stopLate() bool { return s.set.Loop.Clock.Read() > s.stopBy-longestStop/2 }

func (s *Server) closeListeners() {
	for fd := range s.listeners {
		s.set.Loop.Remove(fd) // the service manager may keep the socket
		_ = unix.Close(fd)
	}
	clear(s.listeners)
}

// stopWhenDone ends the loop when nobody is left, or the time is over.
func (s *Server) stopWhenDone() {
	switch {
	case s.set.Net.Len() == 0:
	case s.stopTime.IsSet():
		return
	default:
		s.set.Log.Warn("some connections did not take what they were sent", "event", "stop", "connections", s.set.Net.Len())
		s.set.Net.EndAll()
	}
	s.stopTime.Stop()
	s.locks.Bury()
	s.quit = true
}

// close releases what the server has, after the loop.
func (s *Server) close() {
	s.set.Loop.End()
	s.closeListeners()
	s.set.Net.EndAll()
	s.watch.Close()
	s.set.Loop.Closer.Wait(time.Second)
	s.closeFiles()
}

// closeFiles closes what the server has from the beginning.
func (s *Server) closeFiles() {
	_ = unix.Close(s.spare)
	s.set.Loop.Close()
}
