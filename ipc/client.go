package ipc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
	"golang.org/x/sys/unix"
)

// maxCalls is how many commands of one Client may be without a reply. It bounds what a daemon that stopped reading can
// make a program hold: a call given up leaves its command behind.
const maxCalls = 1024

// A Client is one connection to the daemon for any number of goroutines. Their commands are pipelined, and waiting for
// a lock or for messages holds up nothing else on it. It lives until Close or until the connection ends, and does not
// reconnect: see "A lost connection" in the package's documentation.
type Client struct {
	file   *os.File
	in     input  // used by the reader
	out    writer // used by whoever set writing
	dec    *wire.Decoder
	limits wire.Limits    // of a command: what the daemon said in its greeting
	slots  chan struct{}  // a token for each command without a reply
	files  chan struct{}  // likewise, for each with a file beside it
	tasks  sync.WaitGroup // the reader, a slow flush, and what is in the background
	done   chan struct{}  // closed when the connection has ended

	unproven error // why the daemon cannot know that this process is the one that connected; nil: it does

	mu       sync.Mutex
	unsent   []byte          // commands to write, in the order of pending
	beside   []beside        // descriptors that go with them
	spare    []byte          // the buffer that unsent was before
	writing  bool            // somebody is writing; who finds it set leaves his bytes in unsent
	broken   error           // why nothing can be written any more
	pending  queue           // calls that wait for their reply
	tickets  map[int64]*call // calls that wait for a push "done"
	feeds    map[sharing]*feed
	held     map[heldKey][]*Lock // several if one joined the hold of another
	services map[string]*service // by filter
	reason   error               // what the daemon said before it hung up
	err      error               // why the connection ended
}

// A heldKey is one hold.
type heldKey struct {
	name  string
	token uint64
}

// A DialOption changes what [Dial] does.
type DialOption func(*dialOptions)

type dialOptions struct{ name string }

// Name gives the connection a name for CLIENT LIST and "ipcctl clients". It must not hold blanks.
func Name(name string) DialOption { return func(o *dialOptions) { o.name = name } }

// Dial connects to the daemon at address. ctx bounds the dialling and has no effect on the client after that. If no
// daemon can be reached, the error is a [*DialError].
func Dial(ctx context.Context, address string, options ...DialOption) (*Client, error) {
	var o dialOptions
	for _, option := range options {
		option(&o)
	}
	fd, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	hello := []string{"HELLO", "3"}
	if o.name != "" {
		hello = append(hello, "SETNAME", o.name)
	}
	unproven := greet(fd, hello)
	greeted, proven := newCall(), newCall()
	c, err := newClient(fd, greeted, proven)
	if err != nil {
		return nil, fmt.Errorf("cannot use the connection to ipcd: %w", err)
	}
	greeting, err := greeted.wait(ctx)
	if err == nil {
		_, err = proven.wait(ctx)
		if refused, ok := errors.AsType[*Error](err); ok {
			err = nil
			if unproven == nil {
				unproven = refused
			}
		}
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot greet ipcd: %w", err)
	}
	c.unproven = unproven
	if frame, words := greeting.Get("input_limit").Int, greeting.Get("arguments_limit").Int; frame > 0 && words > 0 {
		c.limits.Frame, c.limits.Words = int(frame), int(words)
	}
	return c, nil
}

// greet sends the greeting, and with it a pidfd of this process, which proves that no relay is in between: that would drop it. An
// error means that there is no such proof. Nothing was sent before, so the socket takes it whole; if it takes nothing, because
// the daemon has hung up, what there is to be read says why.
func greet(fd int, hello []string) error {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	var rights []byte
	if err == nil {
		rights = unix.UnixRights(self)
		defer unix.Close(self)
	}
	_ = unix.Sendmsg(fd, wire.AppendCommand(wire.AppendCommand(nil, hello...), "IPCD.PROVE"), rights, nil, unix.MSG_NOSIGNAL)
	if err != nil {
		return fmt.Errorf("cannot prove to ipcd who asks: %w", err)
	}
	return nil
}

// newClient takes over fd, a connected and non-blocking socket. What was sent on it already are the commands of sent.
func newClient(fd int, sent ...*call) (*Client, error) {
	file := os.NewFile(uintptr(fd), "ipcd")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	c := &Client{
		file:     file,
		limits:   wire.DefaultLimits,
		slots:    make(chan struct{}, maxCalls),
		files:    make(chan struct{}, wire.MaxDescriptors),
		done:     make(chan struct{}),
		tickets:  make(map[int64]*call),
		feeds:    make(map[sharing]*feed),
		held:     make(map[heldKey][]*Lock),
		services: make(map[string]*service),
	}
	c.in.init(raw)
	c.dec = wire.NewDecoder(&c.in, replyLimits)
	c.out.init(raw)
	for _, cl := range sent {
		c.pending.push(cl)
	}
	c.tasks.Go(c.read)
	return c, nil
}

// Close ends the connection, and with it the subscriptions, waits and locks bound to it. Calls still waiting fail with
// [ErrClosed]. When it returns, no goroutine of the client is left.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.tasks.Wait()
	return nil
}

// Done returns a channel that is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended: an error that wraps [ErrClosed]. It is nil before that.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// each does something with this client, as [Link.each] does it with one after the other.
func (c *Client) each(_ context.Context, f func(*Client) error) error { return f(c) }

// background does something that lasts no longer than the connection. It reports false if that has ended already.
func (c *Client) background(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.tasks.Go(f)
	}
	return c.err == nil
}

// insteadOfDo says what to use for a command that would confuse the client's bookkeeping, "" for all others.
func insteadOfDo(words []string) string {
	switch strings.ToUpper(words[0]) {
	case "HELLO", "RESET":
		return "Dial"
	case "QUIT":
		return "Client.Close"
	case "BUS.SUB", "BUS.UNSUB", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE":
		return "Client.Subscribe"
	case "BUS.REQ":
		return "Client.Request"
	case "BUS.SERVE", "BUS.UNSERVE":
		return "Client.Serve"
	case "LOCK.ACQUIRE":
		return "Client.Lock"
	case "CLIENT":
		if len(words) > 1 && strings.EqualFold(words[1], "REPLY") {
			return "a Conn"
		}
	case "MULTI", "EXEC", "DISCARD": // what others send meanwhile would be queued, too
		return "a Conn"
	case "LOCK.BREAK":
		if asksForDescriptors(words) { // which would be taken for those of messages
			return "Conn.DoFDs"
		}
	}
	return ""
}

// asksForDescriptors reports whether LOCK.BREAK is to answer with those of processes.
func asksForDescriptors(words []string) bool {
	for i := 2; i < len(words); i++ {
		if strings.EqualFold(words[i], "PIDFD") {
			return true
		}
		i++ // every other option has a value
	}
	return false
}

// Do sends any other command and returns its reply, or the *[Error] that it is. If ctx ends first, the command may
// still be carried out; its reply is then dropped.
func (c *Client) Do(ctx context.Context, words ...string) (wire.Value, error) {
	if len(words) == 0 {
		return wire.Value{}, &Error{Code: wire.CodeErr, Text: "a command has at least one word"}
	}
	if use := insteadOfDo(words); use != "" {
		return wire.Value{}, fmt.Errorf("cannot send %s with Client.Do: use %s", words[0], use)
	}
	return c.command(ctx, words...)
}

// command sends a command and waits for its reply.
func (c *Client) command(ctx context.Context, words ...string) (wire.Value, error) {
	if len(words) > c.limits.Words {
		return wire.Value{}, &Error{Code: wire.CodeQuota, Text: fmt.Sprintf("a command of %d words is longer than the limit of %d", len(words), c.limits.Words)}
	}
	return c.roundTrip(ctx, func(b []byte) []byte { return wire.AppendCommand(b, words...) })
}

// roundTrip sends what encode appends, one command, and waits for its reply.
func (c *Client) roundTrip(ctx context.Context, encode func([]byte) []byte) (wire.Value, error) {
	cl := newCall()
	if err := c.start(ctx, cl, encode); err != nil {
		return wire.Value{}, err
	}
	return cl.wait(ctx)
}

// start sends a command. Its outcome will come to cl.
func (c *Client) start(ctx context.Context, cl *call, encode func([]byte) []byte) error {
	if err := ctx.Err(); err != nil {
		return err // select might overlook it
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	cl.slot = true
	c.mu.Lock()
	err := c.appendLocked(cl, encode)
	c.flushAndUnlock()
	if err != nil {
		<-c.slots
	}
	return err
}

// appendLocked puts a command into the buffer and its call in the queue for replies.
func (c *Client) appendLocked(cl *call, encode func([]byte) []byte) error {
	if c.err != nil {
		return c.err
	}
	before := len(c.unsent)
	c.unsent = encode(c.unsent)
	if size := len(c.unsent) - before; size > c.limits.Frame {
		// The daemon would hang up, and every lock of the connection would go with it.
		c.unsent = c.unsent[:before]
		return &Error{Code: wire.CodeQuota, Text: fmt.Sprintf("a command of %d bytes is larger than the limit of %d", size, c.limits.Frame)}
	}
	if cl.fd > 0 {
		c.beside = append(c.beside, beside{before, cl.fd})
	}
	c.pending.push(cl)
	return nil
}

// postLocked sends a command for which nobody may have to wait.
func (c *Client) postLocked(cl *call, words ...string) {
	err := c.appendLocked(cl, func(b []byte) []byte { return wire.AppendCommand(b, words...) })
	if err != nil {
		cl.result <- result{err: err}
	}
}

// flushAndUnlock writes what is unsent, unless somebody is at it already, who will then see it. So one write carries
// the commands of all goroutines that came while the one before was going on.
func (c *Client) flushAndUnlock() {
	for !c.writing && len(c.unsent) > 0 && c.broken == nil && c.err == nil {
		batch := c.takeLocked()
		c.mu.Unlock()
		rest, err := c.out.write(batch, false)
		c.mu.Lock()
		c.writing = false
		switch {
		case err != nil:
			c.breakLocked(err)
		case len(rest) > 0 && c.err == nil:
			// The socket is full. Not the caller but a goroutine waits for it: the caller has a context that may
			// end, or is the reader.
			c.writing = true
			c.tasks.Go(func() { c.flushSlowly(batch, rest) })
		default:
			c.out.drop() // there is nothing, unless the connection has ended
			c.returnLocked(batch)
		}
	}
	c.mu.Unlock()
}

// breakLocked notes that nothing can be written any more. The daemon may have said why before it hung up, so the
// reader goes on to the end of what there is to read, but not for long if the daemon left only half of the connection.
func (c *Client) breakLocked(err error) {
	c.broken, c.unsent = err, nil
	c.out.drop()
	c.dropFilesLocked()
	// It fails only if the file is closed, and then the reader ends too.
	_ = c.file.SetReadDeadline(time.Now().Add(time.Second))
}

// dropFilesLocked closes the descriptors of commands that will not be sent.
func (c *Client) dropFilesLocked() {
	closeAll(c.beside)
	c.beside = nil
}

// takeLocked begins a write of what is unsent.
func (c *Client) takeLocked() []byte {
	batch := c.unsent
	c.unsent, c.spare = c.spare[:0], nil
	c.out.begin(c.beside)
	c.beside = c.beside[:0]
	c.writing = true
	return batch
}

// returnLocked keeps the buffer of a batch for the next one, unless it is large.
func (c *Client) returnLocked(batch []byte) {
	if c.spare == nil && cap(batch) <= 64<<10 {
		c.spare = batch
	}
}

func (c *Client) flushSlowly(batch, rest []byte) {
	_, err := c.out.write(rest, true)
	c.mu.Lock()
	c.writing = false
	if err != nil {
		c.breakLocked(err)
	}
	c.returnLocked(batch)
	c.flushAndUnlock()
}
