package ipc

import (
	"fmt"
	"strconv"

	"github.com/ipcd/ipcd/ipc/wire"
)

// Conflate has only the last message of each topic wait, in the daemon and in the subscription's own buffer: of those that are not taken
// out, a newer one takes the place of the older. See [Message].Conflated.
func Conflate() SubscribeOption {
	return func(s *Subscription) { s.words.conflate = true }
}

// Lossless has the subscription end rather than miss a message: if more wait than may, in the daemon, which then ends the client's
// connection, or in the subscription's own buffer. The error wraps [ErrQuota].
func Lossless() SubscribeOption {
	return func(s *Subscription) { s.words.lossless = true }
}

// Backlog is how many messages, and how many bytes as they are sent, may wait in the daemon, when it cannot send them: within the limits
// of the daemon, which alone count for what is 0. For those that wait in the subscription, see [BufferSize].
func Backlog(messages, bytes int) SubscribeOption {
	return func(s *Subscription) { s.words.messages, s.words.bytes = messages, bytes }
}

// subWords are the options of BUS.SUB.
type subWords struct {
	conflate, lossless bool
	files              bool // those beside messages come, too
	messages, bytes    int
}

// options are the words themselves.
func (w subWords) options() (words []string) {
	if w.files {
		words = append(words, "FD")
	}
	switch {
	case w.lossless:
		words = append(words, "SLOW", "DISCONNECT")
	case w.conflate:
		words = append(words, "SLOW", "CONFLATE")
	}
	if w.messages > 0 {
		words = append(words, "QUEUE", strconv.Itoa(w.messages))
	}
	if w.bytes > 0 {
		words = append(words, "BYTES", strconv.Itoa(w.bytes))
	}
	return words
}

// errOtherWords is for a subscription that cannot share that of another one in the daemon.
func errOtherWords(filter string) error {
	return fmt.Errorf("this client has subscribed to %q with other options", filter)
}

// A place is that of a message among all that a subscription has received.
type place uint64

// conflateLocked has a message that came before, and is not taken out, be one that is not given out, as a newer one of its topic comes now.
func (s *Subscription) conflateLocked(topic string) {
	if s.topics == nil {
		s.topics = map[string]place{}
	}
	if at, ok := s.topics[topic]; ok && at >= s.taken {
		old := &s.buf[(s.first+int(at-s.taken))%len(s.buf)]
		s.bytes -= len(old.Payload)
		old.Payload, old.stale = nil, true
		if old.File != nil {
			old.close()
			old.File = nil
			s.held--
		}
	}
	s.topics[topic] = s.taken + place(s.count)
}

// conflated tells the subscriptions that share a filter how many messages of it the daemon has not sent, as it sent newer ones.
func (c *Client) conflated(args []wire.Value) error {
	if len(args) < 2 {
		return errBadPush
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missingLocked(sharing{filter: args[0].Str}, missing{conflated: uint64(args[1].Int)})
	return nil
}

// behind notes why the daemon ends the connection.
func (c *Client) behind(args []wire.Value) error {
	if len(args) < 2 {
		return errBadPush
	}
	if refusal, ok := args[1].Err().(*Error); ok {
		c.mu.Lock()
		c.reason = refusal
		c.mu.Unlock()
	}
	return nil
}
