package conn

import (
	"fmt"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// An Owner is what a connection belongs to: what its commands mean, and what hangs on it, is known there. A connection calls its
// owner with these and with nothing else, from the loop's thread.
type Owner interface {
	// Execute executes a command, which has one word at least. The words are slices of the input, gone when it returns.
	Execute(words [][]byte) Outcome
	// Continue goes on with the command that was executed last, if that is unfinished (SetUnfinished), before another one is. It
	// reports whether it is done.
	Continue() bool
	// HalfClosed says that the peer sends no more: nobody will take what is waited for.
	HalfClosed()
	// Resume goes on with what the connection was queued for (Queue, HeldUp): its user's time has come.
	Resume()
	// Closed gives back what hangs on a connection that has ended. It reports whether that is all: if not, it is called again.
	Closed() bool
	// Failed says why the connection is ended, if it is not by the peer. It ends nothing itself.
	Failed(why error)

	// Proto is the protocol that the peer speaks now.
	Proto() wire.Proto
	// Receives says whether the peer gets messages that it can be told to have missed, and whether such that it cannot.
	Receives() (lossy, strict bool)
	// Dropped takes note of messages that were given up, beside those that Enqueue has told of.
	Dropped(n int)
	// Taken says that the peer has read what AwaitTaken was for.
	Taken()
	// HasRoom says that the peer has taken some of what waits for it, or will not: see AwaitRoom.
	HasRoom()
}

// An Outcome is what became of a command.
type Outcome uint8

const (
	// Done is that it is executed.
	Done Outcome = iota
	// Slow is that it is executed, and may have taken long: the clock is looked at.
	Slow
	// Later is that it is not executed: it is when its connection goes on (Slice, Park).
	Later
)

// A Conn is one connection. There may be very many, nearly all of them idle: what an idle one need not have hangs on a pointer, and
// buffers exist only while they hold something. The zero Conn is one that has ended: see [Conn.Dead].
type Conn struct {
	set   *Set
	owner Owner

	fd      int32
	watched uint16 // what epoll watches for, beside edges
	ready   uint16 // what epoll said and nobody has looked at
	flags   flags
	from    uint32 // where the open range of the outbox begins

	// Input.
	parser wire.RequestParser
	in     []byte // bytes read and not executed, from the pool; nil if none

	outbox

	charge account.Charge // for the connection
	next   *Conn          // in the queue of its user
	more   *extras        // what most connections never need
}

// extras is the part of a connection that an idle one does without.
type extras struct {
	input, output account.Charge // for bytes of input, and of own
	rights        []right        // descriptors that no command has taken yet
	commandLen    int            // how long the command is that is executed, whose bytes are not passed yet
	long          *longReply     // what is written before the outbox
	owners        int            // bytes that the owner keeps for what it is going to say
	since         int            // bytes that were written since what AwaitTaken was for was; below 0: it is not written
	givenUp       int            // of what Unsent counts, with the backlog
	shelf                        // while the socket is full
	queue         *queue         // instead, where subscriptions have rules; nil: none has
}

// flags is a set of them.
type flags uint32

const (
	isAlive      flags = 1 << iota // was added, and has not ended
	isTouched                      // in the list of those to flush at the turn's end
	isWaiting                      // a command waits: later ones are not executed
	isHalf                         // half-closed: the peer sends no more; there may be something left to read
	isEOF                          // and all of it is read
	isClosing                      // ends when its outbox is empty
	isRunnable                     // in the list of those with input to execute though nothing is to be read
	isSliced                       // used up its time in this turn: goes on in a later one
	isSlow                         // its commands took long when they were last measured
	isHungUp                       // the peer is gone: it reads no more either
	isQueued                       // in the queue of its user
	isLate                         // touched, and in the queue of its user: the turn had no time to write to it
	isParked                       // set aside until Unpark
	isBlocked                      // the socket is full: no pieces, no open range
	isUnfinished                   // its owner goes on before the next command
	isHeldUp                       // queued for its owner when it is no more blocked
	isWanted                       // the owner is called when there is more room in the backlog: see AwaitRoom
	isAwaited                      // the owner is called when the peer has read: see AwaitTaken
	isCounted                      // there may be something in the outbox that Unsent counts
)

func (c *Conn) is(f flags) bool { return c.flags&f != 0 }

// Dead reports whether the connection has ended. Its descriptor is closed at the turn's end.
func (c *Conn) Dead() bool { return !c.is(isAlive) }

// Ending reports whether it has ended, or does when it has been sent what is its.
func (c *Conn) Ending() bool { return c.flags&(isAlive|isClosing) != isAlive }

// SendsNoMore reports whether the peer has closed its half.
func (c *Conn) SendsNoMore() bool { return c.is(isHalf) }

// HungUp reports whether the peer is gone.
func (c *Conn) HungUp() bool { return c.is(isHungUp) }

// Blocked reports whether the socket is full.
func (c *Conn) Blocked() bool { return c.is(isBlocked) }

// FD is the descriptor of the connection, as the Kernel knows it. After it was closed it is -1.
func (c *Conn) FD() int { return int(c.fd) }

// User is the account of the peer's user.
func (c *Conn) User() *account.User { return c.charge.User() }

// Owner is whom the connection calls.
func (c *Conn) Owner() Owner { return c.owner }

// Next is where a connection keeps who stands behind it in the queue of their user.
func (c *Conn) Next() **Conn { return &c.next }

func (c *Conn) String() string {
	return fmt.Sprintf("connection at %d: flags %b, events %x, %d bytes in, %d out", c.fd, c.flags, c.watched, len(c.in), c.Backlog())
}

func (c *Conn) extra() *extras {
	if c.more == nil {
		c.more = &extras{input: c.User().Charge(account.Input, 0), output: c.User().Charge(account.Output, 0)}
	}
	return c.more
}

// Await has later commands wait until GoOn.
func (c *Conn) Await() { c.flags |= isWaiting }

// Waiting reports whether commands wait for GoOn.
func (c *Conn) Waiting() bool { return c.is(isWaiting) }

// GoOn has the commands executed, in this turn, that have waited since Await.
func (c *Conn) GoOn() {
	c.flags &^= isWaiting
	c.runLater()
}

// SetUnfinished says whether there is more to do of a command that is executed: then the owner is called (Continue) when commands go on.
func (c *Conn) SetUnfinished(is bool) {
	if c.flags &^= isUnfinished; is {
		c.flags |= isUnfinished
	}
}

// OnHold reports whether commands wait for something else than for the peer to read.
func (c *Conn) OnHold() bool { return c.flags&(isAlive|isWaiting|isSliced|isParked) != isAlive }

// Park sets the connection aside: its commands wait until Unpark, whatever else happens.
func (c *Conn) Park() { c.flags |= isParked }

// Parked reports whether it is set aside.
func (c *Conn) Parked() bool { return c.is(isParked) }

// Unpark has the commands go on when it is their user's turn.
func (c *Conn) Unpark() {
	c.flags &^= isParked
	if !c.Dead() {
		c.Slice()
	}
}

// Slice has the commands go on in a later turn, when it is their user's.
func (c *Conn) Slice() {
	c.flags |= isSliced
	c.Queue()
}

// Queue has the owner called (Resume) when it is its user's turn.
func (c *Conn) Queue() {
	if !c.is(isQueued) {
		c.flags |= isQueued
		c.set.shares.Join(c.User(), c)
	}
}

// HeldUp writes what there is to be sent, and reports whether the socket is full. Then the connection is queued when it has taken all.
func (c *Conn) HeldUp() bool {
	if c.Dead() {
		return false
	}
	c.closeRange()
	c.flush()
	if !c.is(isBlocked) {
		return false
	}
	c.flags |= isHeldUp
	return true
}

// later has events looked at when it is the connection's user's turn.
func (c *Conn) later(events uint32) {
	c.ready |= uint16(events)
	c.Queue()
}

// Keep charges the user for so many bytes that the owner keeps for the connection, beside what that has itself.
func (c *Conn) Keep(bytes int) {
	if bytes == 0 && c.more == nil {
		return
	}
	c.extra().owners = bytes
	c.account()
}

// Memory is how large the buffers of a connection are, for input and for output, and what else it keeps of that.
func (c *Conn) Memory() (in, out int) {
	in, out = cap(c.in)+c.parser.Memory(), cap(c.own)
	if x := c.more; x != nil {
		out += x.room + x.gap.memory + x.owners
		if x.queue != nil {
			out += x.queue.memory
		}
		if x.long != nil {
			out += len(x.long.mapping)
		}
	}
	return in, out
}

// account charges the buffers that a connection has now to its user.
func (c *Conn) account() {
	in, out := c.Memory()
	if in+out == 0 && c.more == nil || c.Dead() {
		return
	}
	x := c.extra()
	x.input.Set(in)
	x.output.Set(out)
}

// overBuffers reports whether more bytes would be too much for a connection's user.
func (c *Conn) overBuffers(more int) bool { return c.User().Exceeds(account.Buffers, more) }

// Finish ends a connection when it has been sent what is its.
func (c *Conn) Finish() {
	if c.Dead() {
		return
	}
	c.flags |= isClosing
	c.closeRange()
	c.touch()
}

// Kill ends a connection at once: the rest of its outbox is lost. Its owner is told why, unless that is nil. What the connection had
// is given back at the turn's end.
func (c *Conn) Kill(why error) {
	if c.Dead() {
		return
	}
	c.flags &^= isAlive
	c.dropRange()
	c.set.dead = append(c.set.dead, c)
	if why != nil {
		c.owner.Failed(why)
	}
}

// endFor ends a connection after an error.
func (c *Conn) endFor(code wire.Code, why string) {
	if !c.is(isClosing) {
		c.Send(wire.AppendError(nil, code, why))
		c.Finish()
	}
}
