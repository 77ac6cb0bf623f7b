package session

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A peer is whoever connected, and that need not be the one who asks: a relay in between passes bytes on, and is a process of
// its own. What binds to the asker's process would bind to the relay's, which neither ends with the asker nor runs what the
// lock is for. So the asker has to prove that it is the peer: by a pidfd of its own, which a relay drops; or, where a client
// cannot send descriptors, by its number.

// Relayed is what a relay would do, and what to do instead.
const Relayed = "and would hold the lock in the caller's stead: connect to the daemon's own socket, or ask for a LEASE"

// Prove executes IPCD.PROVE: it has the peer be known for the one who asks on this connection.
func Prove(c *Call) {
	sess := c.Session
	fd := sess.TakeFD()
	if fd < 0 {
		c.Fail(wire.CodeDenied, "%s", NotSent(sess))
		return
	}
	same, err := peer.Connected(sess.FD(), sess.Peer, fd)
	sess.Discard(fd)
	switch {
	case err != nil:
		c.Fail(ProcessCode(err), "cannot compare the caller with %s, which connected: %v", ProcessName(&sess.Peer), err)
	case !same:
		c.Fail(wire.CodeDenied, "%s connected, not the caller, %s", ProcessName(&sess.Peer), Relayed)
	default:
		sess.Mark(Proven)
		c.OK()
	}
}

// Proven checks that the caller is the peer, which what asks for it wants. It has the reply ready if not.
func (c *Call) Proven(what string) bool {
	if !c.Session.Is(Proven) {
		c.Fail(wire.CodeDenied, "%s wants a proof that the caller is %s, which connected: IPCD.PROVE. If that is a relay there is none: it is not the caller, %s",
			what, ProcessName(&c.Session.Peer), Relayed)
		return false
	}
	return true
}

// IsPeer checks that the caller is the peer, by the number that it says it has: a relay has another one. It has the reply ready if not.
func (c *Call) IsPeer(pid int) bool {
	p := &c.Session.Peer
	if pid != p.PID {
		c.Fail(wire.CodeDenied, "%s connected, not process %d: it may be a relay (socat, ssh -L, systemd-socket-proxyd), %s", ProcessName(p), pid, Relayed)
	}
	return pid == p.PID
}

// ProcessCode is the code for an error of looking at a process: that the daemon has nothing left to look with, or cannot read, says
// nothing of the process.
func ProcessCode(err error) wire.Code {
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC):
		return wire.CodeQuota
	case errors.Is(err, unix.EIO):
		return wire.CodeIO
	}
	return wire.CodeNotFound
}

// NotSent says why a descriptor may be missing.
func NotSent(s *Session) string {
	return fmt.Sprintf("%s connected, and no descriptor came from the caller: a relay in between (socat, ssh -L, systemd-socket-proxyd) drops it, %s",
		ProcessName(&s.Peer), Relayed)
}

// ProcessName is a process in words, for errors: "process 4121 (\"socat\")".
func ProcessName(p *peer.Peer) string {
	if p.PID == 0 {
		return "a process outside of the daemon's PID namespace"
	}
	if command := peer.Command(p.PID); command != "" {
		return fmt.Sprintf("process %d (%q)", p.PID, command)
	}
	return fmt.Sprintf("process %d", p.PID)
}

// NotIdentified says why a process that connected cannot own anything: it would not be told from others.
func NotIdentified(p *peer.Peer) string {
	if p.PID == 0 {
		return "the process that connected is outside of the daemon's PID namespace, and only Linux 6.9 and later tell such processes apart"
	}
	return fmt.Sprintf("process %d, which connected, has ended, or cannot be seen from here: /proc may not be mounted, or hide it (hidepid)", p.PID)
}
