package ipc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

// ErrUnsubscribed is what [Subscription.Next] fails with after [Subscription.Close].
var ErrUnsubscribed = errors.New("subscription is closed")

// A SubscribeOption changes what [Client.Subscribe] does.
type SubscribeOption func(*Subscription)

// BufferSize is how many messages (4096), and how many bytes of payload (16 MiB), a subscription keeps for the program
// to take out. If more come, the oldest are dropped; see [Message].Lost. One message is kept whatever its size.
//
// A member of a group ([Share]) is given no more than so many messages (16) that are not taken out, whatever their size, and none is
// dropped: with 1, it is given one after the program has asked for it.
func BufferSize(messages, bytes int) SubscribeOption {
	return func(s *Subscription) { s.maxMessages, s.maxBytes = max(messages, 1), bytes }
}

// Share makes the subscription a member of a group: of all that share the same filter under this name, on whatever connection, each message
// goes to one. It goes to one that takes messages out; what this one has not been sent when its connection ends goes to the others, and
// what it was sent and has not given out is lost. It begins with no values that topics have, see [Retain]. A Client is a member of a
// group once at a time.
func Share(group string) SubscribeOption { return func(s *Subscription) { s.of.group = group } }

// A sharing is what those have in common who are given the same messages, or, in a group, share them.
type sharing struct{ filter, group string }

// words are a command about it.
func (of sharing) words(command string, more ...string) []string {
	words := []string{command, of.filter}
	if of.group != "" {
		words = append(words, "GROUP", of.group)
	}
	return append(words, more...)
}

// A Subscription receives the messages whose topic its filter matches, in the order in which the daemon took them. It
// may be used by any number of goroutines; each message goes to one of them.
type Subscription struct {
	link        *Link // whose it is; nil: of a client alone
	of          sharing
	words       subWords
	maxMessages int
	maxBytes    int
	wake        chan struct{} // holds a token if there may be a message
	ended       chan struct{}

	mu     sync.Mutex
	client *Client
	buf    []received // a ring of count messages from first on; it grows up to maxMessages
	first  int
	count  int
	bytes  int       // payload in buf
	held   int       // files in buf
	lost   uint64    // since the newest message in buf
	gap    *GapError // likewise
	told   bool      // that gap is to be told, whether or not a message follows
	took   int       // messages that were taken out since the daemon was told so: of a member of a group
	member *Client   // it is one by
	err    error     // why there will be no more

	conflated uint64           // like lost
	taken     place            // of the first in buf
	topics    map[string]place // of one that conflates: where the newest of each topic is
}

// A received message is one that is not taken out yet.
type received struct {
	Message
	gap   *GapError // before it
	stale bool      // a newer one of its topic has taken its place
}

// A GapError says that a [Subscription] of a [Link] has come back with another connection: messages may be missing between
// those before and those after it, and how many nobody knows. It is no end. Who reads again now what the messages tell of,
// misses nothing.
type GapError struct {
	Since time.Time // when the connection was found to have ended
	Err   error     // why
}

func (e *GapError) Error() string {
	return fmt.Sprintf("messages may be missing since %s: %v", e.Since.Format(time.RFC3339), e.Err)
}

// Subscribe begins to receive the messages whose topic matches filter. When it returns, the daemon has taken the
// subscription down: whatever is published later is received. Subscriptions of one Client to the same filter share
// one in the daemon, and each receives every message, behind the values that topics have by then: see [Retain]. What the daemon has dropped
// of these values is told to that one as lost, and of the messages to all. Only before the first message, and if two begin between two
// messages, may those who were there already be told that more is lost to them than is, and never less.
func (c *Client) Subscribe(ctx context.Context, filter string, options ...SubscribeOption) (*Subscription, error) {
	s := newSubscription(filter, options)
	if err := s.resume(ctx, c, nil); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot subscribe to %q: %w", filter, err)
	}
	return s, nil
}

func newSubscription(filter string, options []SubscribeOption) *Subscription {
	s := &Subscription{
		of:       sharing{filter: filter},
		maxBytes: 16 << 20,
		wake:     make(chan struct{}, 1),
		ended:    make(chan struct{}),
	}
	for _, option := range options {
		option(s)
	}
	switch {
	case s.of.group != "":
		s.maxMessages, s.maxBytes = cmp.Or(s.maxMessages, 16), math.MaxInt
	case s.maxMessages == 0:
		s.maxMessages = 4096
	}
	return s
}

// resume subscribes by a client, after a gap if there was a connection before. It is told when it is over, so that nothing is missing
// of what comes after it; or before the first message, which may be earlier.
func (s *Subscription) resume(ctx context.Context, c *Client, gap *GapError) error {
	s.mu.Lock()
	s.client = c
	s.told = false
	if s.gap == nil {
		s.gap = gap
	}
	s.mu.Unlock()
	if s.isOver() {
		return nil
	}
	if err := c.subscribe(ctx, s); err != nil {
		return err
	}
	s.mu.Lock()
	s.told = true
	s.mu.Unlock()
	s.signal()
	if s.isOver() { // meanwhile
		c.unsubscribe(s)
	}
	return nil
}

// isOver reports whether there will be no more than what is in the buffer.
func (s *Subscription) isOver() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func (s *Subscription) conn() *Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

func (c *Client) subscribe(ctx context.Context, s *Subscription) error {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	if s.words.files {
		c.in.takes.Store(true)
	}
	f := c.feeds[s.of]
	if f != nil && s.of.group != "" {
		defer c.mu.Unlock()
		return &Error{Code: wire.CodeErr, Text: "this client is a member of the group already"}
	}
	words := s.begin(c)
	switch {
	case f == nil:
		f = &feed{of: s.of, words: s.words}
	case f.words != s.words:
		c.mu.Unlock()
		return errOtherWords(s.of.filter)
	default:
		words = append(words, "VALUES")
	}
	words = append(words, s.words.options()...)
	cl := newCall()
	cl.feed, cl.by, cl.want = f, s, wire.KindInt
	if err := c.appendLocked(cl, func(b []byte) []byte { return wire.AppendCommand(b, words...) }); err != nil {
		defer c.mu.Unlock()
		return err
	}
	c.feeds[s.of] = f
	f.waiting = append(f.waiting, s)
	c.flushAndUnlock()
	_, err := cl.wait(ctx)
	return err
}

// begin is the command that begins a subscription. A member is given as much as there is room for.
func (s *Subscription) begin(c *Client) []string {
	if s.of.group == "" {
		return s.of.words("BUS.SUB")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.member, s.took = c, 0
	return s.of.words("BUS.SUB", "TAKE", strconv.Itoa(s.maxMessages-s.count))
}

// renewal is how many messages more a member can be given, if it is time to say so.
func (s *Subscription) renewal() (n int) {
	if s.member != nil && s.member == s.client && 2*s.took >= s.maxMessages {
		n, s.took = s.took, 0
	}
	return n
}

// renew has a member be given so many messages more.
func (c *Client) renew(s *Subscription, n int) {
	c.mu.Lock()
	if f := c.feeds[s.of]; f != nil && f.has(s) {
		c.postLocked(newCall(), s.of.words("BUS.SUB", "TAKE", strconv.Itoa(n))...)
	}
	c.flushAndUnlock()
}

// Close ends the subscription. What it has not given out yet is dropped.
func (s *Subscription) Close() {
	s.end(ErrUnsubscribed)
	if s.link != nil {
		s.link.forgetSubscription(s)
	}
	if c := s.conn(); c != nil {
		c.unsubscribe(s)
	}
	s.mu.Lock()
	for s.count > 0 {
		m := s.pop()
		m.close()
	}
	s.buf, s.first, s.count, s.bytes, s.gap, s.topics = nil, 0, 0, 0, nil, nil
	s.mu.Unlock()
}

func (c *Client) unsubscribe(s *Subscription) {
	c.mu.Lock()
	if f := c.feeds[s.of]; f != nil {
		f.subscriptions, f.waiting = without(f.subscriptions, s), without(f.waiting, s)
		if f.isEmpty() {
			delete(c.feeds, s.of)
			c.postLocked(newCall(), s.of.words("BUS.UNSUB")...)
		}
	}
	c.flushAndUnlock()
}

// hangUp notes that a connection has ended. That of a link is followed by another.
func (s *Subscription) hangUp(err error) {
	if s.link == nil {
		s.end(err)
	}
}

// end says that no message will follow those in the buffer.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.ended)
	}
}

// Filter is what it was subscribed with.
func (s *Subscription) Filter() string { return s.of.filter }

// Next returns the next message as soon as there is one. After the connection ended it returns what came before that,
// then an error that wraps [ErrClosed]; of a [Link] a [*GapError], and goes on.
func (s *Subscription) Next(ctx context.Context) (Message, error) {
	for {
		s.mu.Lock()
		more, c := s.renewal(), s.client
		if more > 0 { // what the program had taken out, it is done with, as it asks for another
			s.mu.Unlock()
			c.renew(s, more)
			s.mu.Lock()
		}
		s.skipStale()
		gap := s.takeGap()
		if gap == nil && s.count > 0 {
			m := s.pop().Message
			s.took++
			if s.count > 0 {
				s.signal() // for another that waits
			}
			s.mu.Unlock()
			return m, nil
		}
		if s.count > 0 {
			s.signal()
		}
		err := s.err
		s.mu.Unlock()
		if gap != nil {
			return Message{}, gap
		}
		if err != nil {
			return Message{}, err
		}
		select {
		case <-s.wake:
		case <-s.ended:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// takeGap takes the gap that comes next, if it is one.
func (s *Subscription) takeGap() (gap *GapError) {
	switch {
	case s.count > 0:
		gap, s.buf[s.first].gap = s.buf[s.first].gap, nil
	case s.told:
		gap, s.gap = s.gap, nil
	}
	return gap
}

// Messages iterates over the messages until [Subscription.Close]. If ctx or the connection ends before, the last pair
// has the error and no message. So has a pair with a [*GapError], which is not the last.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := s.Next(ctx)
			_, goesOn := errors.AsType[*GapError](err)
			if errors.Is(err, ErrUnsubscribed) || !yield(m, err) || err != nil && !goesOn {
				return
			}
		}
	}
}

// deliver puts a message into the buffer, dropping the oldest ones if it has no room.
func (s *Subscription) deliver(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		m.close()
		return
	}
	next := received{Message: m, gap: s.gap}
	next.Lost, next.Conflated = s.lost, s.conflated
	s.lost, s.conflated, s.gap = 0, 0, nil
	if s.words.conflate {
		s.conflateLocked(m.Topic)
	}
	for s.count > 0 && (s.count == s.maxMessages || s.bytes+len(m.Payload) > s.maxBytes || m.File != nil && s.held == mostHeld) {
		if s.words.lossless {
			m.close()
			s.err = fmt.Errorf("%w: too far behind %q, of which it is to miss nothing", ErrQuota, s.of.filter)
			close(s.ended)
			return
		}
		s.discard(&next)
	}
	if s.count == len(s.buf) {
		s.grow()
	}
	s.buf[(s.first+s.count)%len(s.buf)] = next
	s.count++
	s.bytes += len(m.Payload)
	if m.File != nil {
		s.held++
	}
	s.signal()
}

// discard takes the first message out of the buffer. What is missing before the one behind it, or before next, is so much more.
func (s *Subscription) discard(next *received) {
	dropped := s.pop()
	dropped.close()
	if s.count > 0 {
		next = &s.buf[s.first]
	}
	next.Lost += dropped.Lost
	next.Conflated += dropped.Conflated
	if dropped.stale {
		next.Conflated++
	} else {
		next.Lost++
	}
	if dropped.gap != nil {
		next.gap = dropped.gap
	}
}

// skipStale takes out what is not given out any more: behind it is what has taken its place.
func (s *Subscription) skipStale() {
	for s.count > 1 && s.buf[s.first].stale {
		s.discard(nil)
	}
}

func (s *Subscription) missed(m missing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost += m.lost
	s.conflated += m.conflated
}

func (s *Subscription) pop() received {
	m := s.buf[s.first]
	s.buf[s.first] = received{}
	s.first = (s.first + 1) % len(s.buf)
	s.count--
	s.taken++
	s.bytes -= len(m.Payload)
	if m.File != nil {
		s.held--
	}
	if s.topics != nil && s.topics[m.Topic] < s.taken {
		delete(s.topics, m.Topic)
	}
	return m
}

func (s *Subscription) grow() {
	buf := make([]received, min(max(2*len(s.buf), 16), s.maxMessages))
	n := copy(buf, s.buf[s.first:])
	copy(buf[n:], s.buf[:s.first])
	s.buf, s.first = buf, 0
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
