package ipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
	"golang.org/x/sys/unix"
)

// ErrClosed is what every use of a connection fails with after it ended, whoever ended it. What the daemon holds for a
// connection, subscriptions and locks bound to it, is gone by then.
var ErrClosed = errors.New("connection to ipcd ended")

// replyLimits bound a reply. They guard against a stream that is not RESP more than against the daemon: LOCK.LIST of a
// busy machine is long.
var replyLimits = wire.Limits{Frame: 64 << 20, Words: 1 << 20, Depth: 16}

// A Conn is one synchronous connection: commands go out in order, replies come back in order, and whoever uses it says
// when to send and when to receive. It starts no goroutine and suits a short program; it is for one goroutine at a
// time. A long-lived or concurrent program wants a [Client].
//
// A connection speaks RESP2 until Do("HELLO", "3"). In RESP2 a push cannot be told from a reply, so what subscribes or
// passes ASYNC should say HELLO 3 first.
type Conn struct {
	socket *socket
	dec    *wire.Decoder
	out    []byte       // commands not yet sent
	pushes []wire.Value // came before the reply that Reply looked for
	files  []int        // came beside what was received: see TakeFiles
	err    error        // why the connection is of no more use
}

// DialConn connects to the daemon at address. While its backlog is full, DialConn tries again until ctx ends: once, if ctx
// has ended already. ctx has no effect on the connection after that. Errors are of type [*DialError].
func DialConn(ctx context.Context, address string) (*Conn, error) {
	fd, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	s := &socket{fd: fd}
	return &Conn{socket: s, dec: wire.NewDecoder(s, replyLimits)}, nil
}

// Buffer appends a command to what the next Flush or Send sends.
func (c *Conn) Buffer(words ...string) { c.out = wire.AppendCommand(c.out, words...) }

// Flush sends the buffered commands in one write.
func (c *Conn) Flush() error { return c.flush(nil) }

// Send sends a command, after the buffered ones, in one write.
func (c *Conn) Send(words ...string) error {
	c.Buffer(words...)
	return c.flush(nil)
}

// SendFDs is Send with open files beside the command. The daemon gives them, oldest first, to the commands that ask for
// one. It gets duplicates: the caller still has to close fds.
func (c *Conn) SendFDs(fds []int, words ...string) error {
	c.Buffer(words...)
	return c.flush(unix.UnixRights(fds...))
}

// Offer sends as much of encoded commands as the socket takes now, and returns how many bytes that is. The rest has to be offered
// before anything else is sent. An error says that the daemon takes no more on this connection. It may have answered before it hung
// up, so there may be something to receive still.
func (c *Conn) Offer(commands []byte) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	if n, err = c.socket.offer(commands, nil); err != nil {
		err = connError(err)
	}
	return n, err
}

// Fd is the descriptor of the socket, for one who waits for other things beside it by poll(2). It does not show what has been read
// already and not received: of that, [Conn.Wait] tells without waiting, by a deadline that has passed.
func (c *Conn) Fd() int { return c.socket.fd }

func (c *Conn) flush(rights []byte) error {
	if c.err != nil {
		return c.err
	}
	if err := c.socket.send(c.out, rights); err != nil {
		return c.lastWords(c.fail(err)) // perhaps in the middle of a command
	}
	if c.out = c.out[:0]; cap(c.out) > 64<<10 {
		c.out = nil
	}
	return nil
}

// lastWords is what the daemon said before it hung up (QUOTA, SHUTDOWN), if it did, and else err.
func (c *Conn) lastWords(err error) error {
	for {
		v, gone := c.dec.Decode()
		switch {
		case gone != nil:
			return err
		case v.Kind == wire.KindError:
			return v.Err()
		}
	}
}

// Receive returns the next value, be it a reply or a push. An error reply is a Value too: see [wire.Value.Err].
func (c *Conn) Receive() (wire.Value, error) {
	if len(c.pushes) > 0 {
		v := c.pushes[0]
		c.pushes = c.pushes[1:]
		return v, nil
	}
	return c.receive()
}

// ReceiveInto is Receive for one who is done with the value that was received into v before: see [wire.Decoder.DecodeInto].
func (c *Conn) ReceiveInto(v *wire.Value) (err error) {
	if len(c.pushes) > 0 {
		*v, err = c.Receive()
		return err
	}
	return c.receiveInto(v)
}

func (c *Conn) receive() (v wire.Value, err error) {
	err = c.receiveInto(&v)
	return v, err
}

func (c *Conn) receiveInto(v *wire.Value) error {
	if err := c.wait(); err != nil {
		return err
	}
	if err := c.dec.DecodeInto(v); err != nil {
		return c.fail(err) // in the middle of a value, even if it is the deadline
	}
	return nil
}

// Reply returns the next reply, or the *[Error] that it is. Pushes in front of it are kept for Receive.
func (c *Conn) Reply() (wire.Value, error) {
	for {
		v, err := c.receive()
		if err != nil {
			return wire.Value{}, err
		}
		if v.Kind != wire.KindPush {
			return v, v.Err()
		}
		c.pushes = append(c.pushes, v)
	}
}

// Do sends a command and returns its reply: Send and Reply.
func (c *Conn) Do(words ...string) (wire.Value, error) {
	if err := c.Send(words...); err != nil {
		return wire.Value{}, err
	}
	return c.Reply()
}

// DoFDs is Do for a command whose reply may have open files beside it. They are the caller's to close, whatever the error.
func (c *Conn) DoFDs(words ...string) (v wire.Value, fds []int, err error) {
	before := c.socket.files
	c.socket.files = &fds
	v, err = c.Do(words...)
	c.socket.files = before
	return v, fds, err
}

// Wait returns when there is something to receive, or [os.ErrDeadlineExceeded] after the deadline; a zero time is no
// deadline. Unlike one set by SetDeadline, it leaves the connection as it was.
func (c *Conn) Wait(deadline time.Time) error {
	if len(c.pushes) > 0 {
		return nil
	}
	before := c.socket.deadline
	c.socket.deadline = deadline
	err := c.wait()
	c.socket.deadline = before
	return err
}

func (c *Conn) wait() error {
	if c.err != nil {
		return c.err
	}
	err := c.dec.Wait()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.fail(err)
	}
	return err
}

// SetDeadline bounds everything sent and received from now on; a zero time is no bound. After it, calls fail with
// [os.ErrDeadlineExceeded]. If a command or a value was cut in two by that, the connection is of no more use.
func (c *Conn) SetDeadline(t time.Time) { c.socket.deadline = t }

// Close ends the connection.
func (c *Conn) Close() error {
	if c.err == nil {
		c.err = ErrClosed
	}
	closeFiles(&c.files)
	return c.socket.close()
}

// fail makes err the end of the connection.
func (c *Conn) fail(err error) error {
	c.err = connError(err)
	return c.err
}

// connError wraps the error of a read or a write that ended a connection.
func connError(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrClosed // the daemon hung up: "EOF" tells nothing more
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}
