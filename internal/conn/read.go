package conn

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// read takes what the peer has sent, up to one buffer of it, and executes it. It reports whether there was something.
func (c *Conn) read() bool {
	if c.inputFull() {
		c.run()
		return false
	}
	s := c.set
	// A command that is there in part is read on in the shared buffer, with its beginning copied there, so that the
	// next read is as large as the first. One that has no room there has a buffer of its own.
	held := len(c.in)
	own := held > len(s.rbuf)/2 || c.parser.Needs(c.in) > len(s.rbuf)
	buf := s.rbuf
	if own {
		if !c.growInput() {
			return false
		}
		buf = c.in[:cap(c.in)]
	}
	n, fds, lost, errno := s.kernel.Receive(int(c.fd), buf[held:])
	rights := len(fds) > 0 || lost
	switch {
	case errno == unix.EAGAIN:
		return false
	case errno != 0: // ECONNRESET
		c.Kill(nil)
		return true
	case rights:
		c.takeRights(fds, held, held+n, lost)
	}
	s.readTwice = c == s.lastRead
	s.lastRead = c
	if n == len(buf)-held || rights || c.is(isHalf) {
		c.lookAgain() // there may be more, or the end
	}
	if n == 0 {
		c.flags |= isEOF
		c.run()
		return true
	}
	if own {
		c.in = buf[:held+n]
		c.run()
		return true
	}
	copy(buf, c.in)
	n += held
	used := c.execute(buf[:n])
	switch {
	case c.Ending():
	case used < n:
		if c.in == nil {
			if !c.mayHold(n - used + c.parser.Memory()) {
				return true
			}
		}
		c.in = s.pool.append(c.in[:0], buf[used:n])
		c.executed()
	case held > 0:
		c.releaseInput()
		c.executed()
	}
	return true
}

// ReadEarly reads from the connection that was read last and the time before: while the loop polls, the next to send is most
// likely who was answered just now, and to ask epoll first takes a system call more. That is worth more than it seems:
// an answer that comes before the peer's CPU has gone to sleep need not wake it. It reports whether there was something.
func (s *Set) ReadEarly() bool {
	c := s.lastRead
	return c != nil && s.readTwice && c.flags&(isAlive|isClosing|isEOF) == isAlive && c.watched&unix.EPOLLIN != 0 && c.read()
}

func (c *Conn) releaseInput() {
	c.set.pool.put(c.in)
	c.in = nil
}

// Unexecuted is how many bytes were read and not executed yet.
func (c *Conn) Unexecuted() int { return len(c.in) }

// isAhead reports that there are as many commands as are read at once for when it is the user's turn. More are read then: all that is held
// is moved when some of it is executed, and with a mebibyte that would take longer than to execute it.
func (c *Conn) isAhead() bool { return c.is(isSliced) && len(c.in) >= len(c.set.rbuf) }

// inputFull reports that as much input is held for a connection as may be.
func (c *Conn) inputFull() bool { return len(c.in) >= c.set.limits.Input }

// growInput makes room behind the held input: for all of the frame, where its size is known. It ends the connection and
// reports false if its user would hold too much.
func (c *Conn) growInput() bool {
	const least = 4 << 10
	want := max(len(c.in)+least, min(c.parser.Needs(c.in), c.set.limits.Input))
	if cap(c.in) >= want {
		return true
	}
	if !c.mayHold(roomy(max(want, 2*cap(c.in))) - cap(c.in)) {
		return false
	}
	c.in = c.set.pool.grow(c.in, want-len(c.in))
	c.account()
	return true
}

// mayHold reports whether a connection may hold so many more bytes of input. If not, it ends.
func (c *Conn) mayHold(more int) bool {
	err := c.User().Room(account.Buffers, more)
	if err == nil {
		return true
	}
	c.Send(wire.AppendError(nil, wire.CodeQuota, err.Error()))
	c.Finish()
	return false
}

// stride is after how many commands the clock is looked at, unless they are slow.
const stride = 16

// slowCommand is what each command takes of a connection whose commands are slow.
const slowCommand = 8 * time.Microsecond

// execute has the commands in b executed and returns how many bytes they were.
func (c *Conn) execute(b []byte) (used int) {
	if c.is(isUnfinished) {
		if !c.owner.Continue() {
			return 0
		}
		c.closePassed()
	}
	s := c.set
	var begun time.Duration
	for i := 1; used < len(b) && !c.paused(); i++ {
		words, n, err := c.parser.Next(b[used:], s.words)
		s.words = words
		if err != nil {
			c.badInput(err)
			return len(b)
		}
		if n == 0 {
			break
		}
		if begun == 0 && used+n < len(b) {
			begun = s.begin()
		}
		if c.more != nil {
			c.more.commandLen = n
		}
		outcome := Done
		if len(words) > 0 {
			if outcome = c.owner.Execute(words); outcome == Later {
				break
			}
		}
		used += n
		if c.more != nil {
			c.passCommand(n)
		}
		s.Relieve()
		switch {
		case used == len(b):
			c.flags &^= isSlow
		case s.over != nil:
			if (i%stride == 0 || outcome == Slow) && s.over() {
				return used
			}
		case (i%stride == 0 || outcome == Slow || c.is(isSlow)) && s.Over():
			if s.Now()-begun > time.Duration(i)*slowCommand {
				c.flags |= isSlow
			}
			c.Slice()
		}
	}
	return used
}

// run executes the input that a connection holds.
func (c *Conn) run() {
	if used := c.execute(c.in); used == len(c.in) {
		c.releaseInput()
	} else if used > 0 {
		c.in = c.in[:copy(c.in, c.in[used:])]
	}
	c.executed()
}

// executed decides how a connection goes on whose input is executed as far as it can be now.
func (c *Conn) executed() {
	switch {
	case c.Dead():
	case c.is(isEOF) && !c.paused():
		c.Finish() // what is left is no whole command
	case c.inputFull() && !c.paused():
		c.badInput(c.parser.Limits.ErrTooLarge()) // though its end is not in sight
	default:
		c.watch()
	}
}

// runLater has the input that a connection holds executed in this turn.
func (c *Conn) runLater() {
	if c.flags&(isRunnable|isAlive) == isAlive && (len(c.in) > 0 || c.is(isEOF|isUnfinished)) {
		c.flags |= isRunnable
		c.set.runnable = append(c.set.runnable, c)
	}
}

// paused reports that a connection's commands must wait.
func (c *Conn) paused() bool {
	return c.flags&(isAlive|isClosing|isWaiting|isSliced|isParked) != isAlive || c.is(isBlocked) && c.Unread() > pauseAt
}

// badInput ends a connection on which there is no next command to be found.
func (c *Conn) badInput(err error) {
	c.owner.Failed(err)
	said := wire.AppendError(nil, wire.CodeInternal, err.Error())
	if proto, ok := errors.AsType[*wire.ProtoError](err); ok {
		said = wire.AppendError(nil, wire.CodeErr, "Protocol error: "+proto.Reason)
	}
	c.Send(said)
	c.Finish()
}
