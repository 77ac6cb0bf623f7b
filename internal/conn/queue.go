package conn

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/list"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A subscription may have a rule of its own for what waits while the peer does not read. What a connection with such a subscription has
// to be sent waits message by message then, and not in parts (see shelf.go), behind what is written in part: so one message is taken out
// from among all others, which keep their order. That takes a hundred bytes more for each, which others need not pay.
//
// What a subscription misses is told before the next of its messages that is sent: the number lies with that, and goes on to the one
// behind it if that is taken out, too. So nothing is told twice, and no two notices stand behind each other.

// A queue is what waits message by message. It is there as long as a subscription has a rule.
type queue struct {
	of     map[string]*ruled // the subscriptions that have a rule, or messages here
	rules  int               // how many have a rule
	all    list.List[entry]
	loose  list.List[entry] // those that may be dropped when others need the room
	bytes  int              // of all
	values int              // likewise
	files  int              // beside them
	memory int
	spare  *entry // one that was taken out
}

// An entry is a message that waits, or other values.
type entry struct {
	b                []byte
	values           int // in that
	seq              uint64
	of               *ruled // nil: it is no message that anybody can be told to have missed
	file             *File  // beside it; nil: none
	topic            string // of one that conflates
	missing          Missing
	all, loose, mine list.Link[entry]
}

const entrySize = int(unsafe.Sizeof(entry{}))

func inAll(e *entry) *list.Link[entry]   { return &e.all }
func inLoose(e *entry) *list.Link[entry] { return &e.loose }
func inOwn(e *entry) *list.Link[entry]   { return &e.mine }

// queue is that of a connection, nil if it has its backlog in parts.
func (c *Conn) queue() *queue {
	if c.more == nil {
		return nil
	}
	return c.more.queue
}

// enqueueRuled is enqueue where messages wait one by one.
func (c *Conn) enqueueRuled(msg []byte, f *File, seq uint64, of string) (taken bool, lost int) {
	q := c.more.queue
	s := q.sub(of)
	defer q.forget(s)
	if s.Excess == Disconnect {
		if s.isOver(len(msg)) || c.tooMuch(len(msg), nil) || c.tooMuchOf(f) {
			c.endBehindOf(of)
			return false, 1
		}
		c.beside(c.add(msg, seq, s), f)
		return true, 0
	}
	if s.Bytes > 0 && len(msg) > s.Bytes {
		c.Lose(of)
		return false, 1
	}
	var old *entry // whose place it takes
	var topic []byte
	if s.Excess == Conflate {
		topic = c.set.Pushes.Topic(msg)
		old = s.topics[string(topic)]
	}
	more := len(msg)
	if old != nil {
		more -= len(old.b)
	}
	most := c.set.searched + mostSearched + len(msg)
	for long := c.tooMuch(more, nil); long || c.tooMuchOf(f); long = c.tooMuch(more, nil) {
		e := q.loose.First
		if e == nil || e.seq >= seq && seq > 0 || !long && q.files == 0 || c.set.searched > most {
			c.Lose(of)
			return false, lost + 1
		}
		if e == old {
			old, more = nil, len(msg)
		}
		c.miss(e)
		c.account()
		lost++
	}
	missing := c.more.losses[of]
	delete(c.more.losses, of)
	if old != nil {
		missing.add(c.takeOut(old, Missing{Conflated: 1}))
	}
	for s.isOver(len(msg)) {
		missing.add(c.takeOut(s.own.First, Missing{Lost: 1}))
		lost++
	}
	q.of[of] = s // which had nothing here for a moment, maybe
	e := c.add(msg, seq, s)
	e.missing = missing
	c.beside(e, f)
	if s.Excess == Conflate {
		if s.topics == nil {
			s.topics = map[string]*entry{}
		}
		e.topic = string(topic)
		s.topics[e.topic] = e
	}
	return true, lost
}

// add has a message wait, or if it is of no subscription, other values.
func (c *Conn) add(b []byte, seq uint64, s *ruled) *entry {
	q := c.more.queue
	if last := q.all.Last; s == nil && last != nil && last.of == nil && last.file == nil && len(last.b) < refillSize {
		q.memory -= cap(last.b)
		last.b = append(last.b, b...)
		q.memory += cap(last.b)
		q.bytes += len(b)
		n := valuesIn(b)
		last.values += n
		q.values += n
		return last
	}
	e := q.spare
	q.spare = nil
	if e == nil {
		e = new(entry)
	}
	if cap(e.b) > 2*len(b)+256 {
		e.b = nil
	}
	*e = entry{b: append(e.b[:0], b...), values: 1, seq: seq, of: s}
	if s == nil {
		e.values = valuesIn(b)
	}
	q.all.Push(e, inAll)
	q.bytes += len(b)
	q.values += e.values
	q.memory += cap(e.b) + entrySize
	if s != nil {
		s.own.Push(e, inOwn)
		s.bytes += len(b)
		if s.Excess != Disconnect {
			q.loose.Push(e, inLoose)
		}
	}
	return e
}

// beside has a file be beside a message, unless it is nil.
func (c *Conn) beside(e *entry, f *File) {
	if f != nil {
		e.file = f.Keep()
		c.more.queue.files++
		c.User().Count(account.Files, 1)
		c.User().Count(account.FileBytes, f.Size)
	}
}

// leave gives the file of a message back that is not sent.
func (c *Conn) leave(e *entry) {
	if f := e.file; f != nil {
		e.file = nil
		c.more.queue.files--
		c.User().Count(account.Files, -1)
		c.User().Count(account.FileBytes, -f.Size)
		f.Release()
	}
}

// remove takes an entry out of all that it is in.
func (q *queue) remove(e *entry) {
	q.all.Remove(e, inAll)
	q.bytes -= len(e.b)
	q.values -= e.values
	q.memory -= cap(e.b) + entrySize
	if e.of != nil {
		q.free(e)
	}
	q.spare = e
}

// free has a message be one that is not to be touched any more.
func (q *queue) free(e *entry) {
	s := e.of
	if q.loose.First == e || e.loose.Prev != nil {
		q.loose.Remove(e, inLoose)
	}
	s.own.Remove(e, inOwn)
	s.bytes -= len(e.b)
	if s.topics[e.topic] == e {
		delete(s.topics, e.topic)
	}
}

// takeOut has a message not be sent. What its subscription misses then is told with the next one; if there is none, it is returned.
func (c *Conn) takeOut(e *entry, as Missing) (left Missing) {
	as.add(e.missing)
	if next := e.mine.Next; next != nil {
		next.missing.add(as)
		as = Missing{}
	}
	c.leave(e)
	c.more.queue.remove(e)
	return as
}

// miss drops a message, so that there is room for others.
func (c *Conn) miss(e *entry) {
	s := e.of
	c.set.searched += len(e.b) + entrySize
	if s.ended { // it is told in its place, as what comes later may be of another one
		e.missing.Lost++
		q := c.more.queue
		c.leave(e)
		q.free(e)
		q.bytes -= len(e.b)
		q.values -= e.values
		q.memory -= cap(e.b)
		e.b = c.appendMissing(nil, protoOf(e.b), s.text, e.missing)
		e.values = valuesIn(e.b)
		q.bytes += len(e.b)
		q.values += e.values
		q.memory += cap(e.b)
		e.of, e.missing = nil, Missing{}
		return
	}
	if left := c.takeOut(e, Missing{Lost: 1}); left != (Missing{}) {
		c.lose(s.text, left)
	}
	c.more.queue.forget(s)
}

// protoOf is the protocol in which a push is encoded.
func protoOf(push []byte) wire.Proto {
	if push[0] == '>' {
		return wire.RESP3
	}
	return wire.RESP2
}

// refillSize is how much of a queue becomes the connection's own bytes at once, to be written.
const refillSize = 16 << 10

// refill has what waits first be the connection's own bytes, of which there are none. It reports whether there is something.
func (c *Conn) refill() bool {
	q := c.queue()
	if q == nil || q.all.Len == 0 {
		return false
	}
	if e := q.all.First; e.file != nil { // a part of its own
		h := &c.more.shelf
		if e.missing != (Missing{}) {
			h.insert(0, part{b: c.appendMissing(nil, protoOf(e.b), e.of.text, e.missing)})
		}
		h.insert(len(h.parts), part{b: e.b, seq: e.seq, file: e.file})
		h.files++
		q.files--
		s := e.of
		q.remove(e)
		q.spare = nil // whose bytes are the part's
		q.forget(s)
		return true
	}
	b := c.set.pool.get(min(q.bytes, refillSize))
	for e := q.all.First; e != nil && e.file == nil && (len(b) == 0 || len(b)+len(e.b) <= refillSize); e = q.all.First {
		if e.missing != (Missing{}) {
			b = c.set.pool.append(b, c.appendMissing(nil, protoOf(e.b), e.of.text, e.missing))
		}
		b = c.set.pool.append(b, e.b)
		s := e.of
		if q.remove(e); s != nil {
			q.forget(s)
		}
	}
	c.own = b
	return true
}

// unpack has what a connection has in parts wait message by message, but for the value that is written in part, what has nothing to be
// dropped and what is missing behind that.
func (c *Conn) unpack() {
	x := c.more
	if x.queue == nil {
		return
	}
	parts, losses := append(slices.Clone(x.parts[x.kept:]), part{b: c.own}), x.losses
	for len(x.parts) > x.kept {
		x.remove(len(x.parts) - 1)
	}
	c.own, x.losses, x.dropping = nil, nil, false
	x.ownSeq, x.ofOwn = 0, tallies{}
	type value struct {
		b    []byte
		file *File
	}
	var all []value
	split := func(b []byte, f *File) {
		for len(b) > 0 {
			n := ValueLen(b)
			all = append(all, value{b[:n], f})
			b = b[n:]
		}
	}
	for i, p := range parts {
		b := p.b
		if i == 0 && x.kept == 0 {
			b = c.takeWritten(b)
		}
		split(b, p.file)
	}
	reply := len(all) // the last one, which may have ended a subscription
	for reply--; reply >= 0; reply-- {
		if _, n, _ := c.set.Pushes.Loss(all[reply].b); n == 0 {
			break
		}
	}
	before := map[string]*ruled{}
	for i, v := range all {
		of, n, told := c.set.Pushes.Loss(v.b)
		switch {
		case c.Ending():
		case n == 0 || told:
			c.beside(c.add(v.b, 0, nil), v.file)
		case i < reply:
			s := before[string(of)]
			if s == nil {
				s = &ruled{text: string(of), ended: true}
				if now := x.queue.of[s.text]; now != nil && now.Excess == Disconnect { // it may be of that, of which nothing is to be missed
					s.Excess = Disconnect
				}
				before[s.text] = s
			}
			c.beside(c.add(v.b, 0, s), v.file)
		default:
			if _, lost := c.enqueueRuled(v.b, v.file, 0, string(of)); lost > 0 {
				c.owner.Dropped(lost)
			}
		}
	}
	for i := range parts {
		c.giveBack(&parts[i])
		c.set.free(parts[i])
	}
	if !c.Ending() {
		for of, missing := range losses { // behind all that
			c.lose(of, missing)
		}
	}
	c.account()
}

// takeWritten has the value of a backlog's first part that is written in part be the connection's own bytes, and returns what is behind it.
func (c *Conn) takeWritten(b []byte) []byte {
	x := c.more
	if x.sent == 0 {
		return b
	}
	at, n := valueAt(b, x.sent)
	c.own = c.set.pool.append(nil, b[at:at+n])
	x.sent -= at
	return b[at+n:]
}

// endBehindOf ends a connection that is too far behind a subscription of which it is to miss nothing. The messages that wait are given up,
// and with them what is missing before them, be it told there already or not: why the connection ends says all. The peer is told so behind
// its replies, if it reads.
func (c *Conn) endBehindOf(of string) {
	x := c.more
	stays := func(b []byte) {
		for len(b) > 0 {
			n := ValueLen(b)
			if _, _, told := c.set.Pushes.Loss(b[:n]); !told {
				c.own = c.set.pool.append(c.own, b[:n])
			}
			b = b[n:]
		}
	}
	for first := true; x.kept > 0; first = false { // then the connection has no own bytes
		p := x.remove(0)
		b := p.b
		if x.kept--; first {
			b = c.takeWritten(b)
		}
		stays(b)
		c.set.free(p)
	}
	x.queue.all.All(inAll, func(e *entry) bool {
		if e.of == nil {
			stays(e.b)
		}
		return true
	})
	x.queue.drop(c)
	x.losses, x.gap = nil, gap{}
	c.own = c.set.Pushes.AppendEnd(c.own, c.owner.Proto(), of)
	c.account()
	c.owner.Failed(ErrTooFarBehind)
	c.Finish()
	c.tellRoom()
}

// holdsStrict reports whether something waits that is not to be missed.
func (q *queue) holdsStrict() bool {
	if q != nil {
		for _, s := range q.of {
			if s.Excess == Disconnect && s.own.Len > 0 {
				return true
			}
		}
	}
	return false
}

// drop gives up all that waits.
func (q *queue) drop(c *Conn) {
	q.spare = nil
	if q.all.Len == 0 {
		return
	}
	for e := q.all.First; e != nil && q.files > 0; e = e.all.Next {
		c.leave(e)
	}
	for of, s := range q.of {
		if s.Rule == (Rule{}) {
			delete(q.of, of)
		}
		s.own, s.bytes, s.topics = list.List[entry]{}, 0, nil
	}
	q.all, q.loose, q.bytes, q.values, q.memory = list.List[entry]{}, list.List[entry]{}, 0, 0, 0
}

// check panics if a queue contradicts itself.
func (q *queue) check(c *Conn) {
	bytes, values, memory, own, rules, files := 0, 0, 0, 0, 0, 0
	ok := q.all.Check(inAll) && q.loose.Check(inLoose) && (q.all.Len == 0 || c.is(isBlocked))
	q.all.All(inAll, func(e *entry) bool {
		bytes += len(e.b)
		values += e.values
		memory += cap(e.b) + entrySize
		at, _ := valueAt(e.b, len(e.b))
		ok = ok && at == len(e.b) && valuesIn(e.b) == e.values && (e.of == nil && e.missing == Missing{} || e.of != nil && (e.of.ended || q.of[e.of.text] == e.of))
		if e.of != nil {
			own++
		}
		if e.file != nil {
			files++
			ok = ok && e.of != nil
		}
		return true
	})
	for _, s := range q.of {
		if s.Rule != (Rule{}) {
			rules++
		}
		bytes := 0
		s.own.All(inOwn, func(e *entry) bool { bytes += len(e.b); return true })
		ok = ok && s.own.Check(inOwn) && bytes == s.bytes && (s.Rule != (Rule{}) || s.own.Len > 0) && (s.Messages == 0 || s.own.Len <= s.Messages)
	}
	if !ok || bytes != q.bytes || values != q.values || memory != q.memory || rules != q.rules || files != q.files || q.loose.Len > own {
		panic(fmt.Sprintf("the queue of %v has %d bytes in %d, counted %d in %d; %d rules, counted %d", c, bytes, memory, q.bytes, q.memory, rules, q.rules))
	}
}
