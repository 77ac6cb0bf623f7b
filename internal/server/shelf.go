package server

import (
	"slices"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A shelf is what of a long backlog is before the session's own bytes, in parts of some ten kilobytes, so that nothing which is
// done with a backlog takes time by its length: the oldest messages are dropped by looking through one part, and what is added
// moves nothing. What is missing is told where it was: before the first part that is left, but behind what must stay.
type shelf struct {
	parts         []part
	shelved, room int    // bytes in all parts, and for how many there is room
	kept          int    // so many parts at the beginning have nothing to be dropped
	gap           gap    // what is missing behind them
	ownSeq        uint64 // as part.seq, of the session's own bytes
}

// noShelf is that of all who are not blocked, so that an idle session needs none. Nothing is put there.
var noShelf = new(shelf)

// setBlocked has what comes from now on be the backlog.
func (o *outbox) setBlocked() {
	o.blocked = true
	if o.shelf == noShelf {
		o.shelf = new(shelf)
	}
}

// A part is some of a backlog. Invariant: whole RESP values.
type part struct {
	b   []byte
	seq uint64 // of the message by which the part was begun; 0: not known
}

// largestPart is how much is added to one part, unless limits.output is so small that it has fewer than some parts.
const largestPart = 64 << 10

func (h *shelf) insert(i int, p part) {
	h.parts = slices.Insert(h.parts, i, p)
	h.shelved += len(p.b)
	h.room += cap(p.b)
}

func (h *shelf) remove(i int) (b []byte) {
	b = h.parts[i].b
	h.parts = slices.Delete(h.parts, i, i+1)
	h.shelved -= len(b)
	h.room -= cap(b)
	return b
}

// stay has a value stay, behind what else does and what is missing there.
func (h *shelf) stay(v []byte) {
	var b []byte
	if h.kept > 0 {
		h.kept--
		b = h.remove(h.kept)
	}
	h.insert(h.kept, part{b: append(h.gap.tell(b), v...)})
	h.kept++
}

// appendMessage appends a message to the backlog of a session.
func (s *Server) appendMessage(sess *session, msg []byte, seq uint64) {
	if len(sess.own) >= min(largestPart, s.opts.Limits.Output/8) {
		sess.shelve()
	}
	if len(sess.own) == 0 {
		sess.ownSeq = seq
		if sess.own == nil {
			sess.own = s.pool.get()
		}
	}
	sess.own = append(sess.own, msg...)
}

// shelve makes a part of the session's own bytes.
func (o *outbox) shelve() {
	o.insert(len(o.parts), part{o.own, o.ownSeq})
	o.own, o.ownSeq = nil, 0
}

// oldest is the first part of a backlog, which is empty if nothing is left.
func (o *outbox) oldest() []byte {
	if o.kept == 0 && len(o.gap.lost) > 0 {
		o.insert(0, part{b: o.gap.tell(nil)})
		o.kept = 1
	}
	if len(o.parts) > 0 {
		return o.parts[0].b
	}
	return o.own
}

// passOn goes on to the next part of a backlog, as the first is written.
func (s *Server) passOn(sess *session) {
	sess.sent = 0
	if len(sess.parts) == 0 {
		s.pool.put(sess.own)
		sess.own = nil
		return
	}
	s.pool.put(sess.remove(0))
	sess.kept = max(sess.kept-1, 0)
}

// hasBefore reports whether there may be messages to be dropped in a backlog that are older than one.
func (o *outbox) hasBefore(seq uint64) bool {
	if o.kept < len(o.parts) {
		return o.parts[o.kept].seq < seq
	}
	return len(o.own) > 0 && o.ownSeq < seq
}

// dropPart drops the messages of BUS.SUB in the oldest part that may have some, and returns how many.
func (s *Server) dropPart(sess *session) (dropped int) {
	if sess.kept == len(sess.parts) {
		sess.shelve()
	}
	whole := sess.remove(sess.kept)
	b := whole
	if sess.kept == 0 && sess.sent > 0 { // written in part: that stays
		at, n := valueAt(b, sess.sent)
		sess.stay(b[at : at+n])
		sess.sent -= at
		b = b[at+n:]
	}
	for len(b) > 0 {
		v := b[:valueLen(b)]
		b = b[len(v):]
		if filter, lost := lossOf(v); lost > 0 {
			sess.gap.add(filter, lost, v[0])
			if v[1] == '9' {
				dropped++
			}
			continue
		}
		sess.stay(v)
	}
	s.pool.put(whole)
	return dropped
}

// freeOwn frees a session's own bytes.
func (s *Server) freeOwn(sess *session) {
	for _, p := range sess.parts {
		s.pool.put(p.b)
	}
	s.pool.put(sess.own)
	sess.own, sess.sent, sess.cut = nil, 0, 0
	if sess.blocked {
		*sess.shelf = shelf{}
	} else {
		sess.shelf = noShelf
	}
}

// A gap is what is missing at one place.
type gap struct {
	lost map[string]int64 // by filter
	head byte             // of the pushes, in the protocol that was spoken then
}

func (g *gap) add(filter []byte, n int64, head byte) {
	if g.lost == nil {
		g.lost = map[string]int64{}
	}
	g.lost[string(filter)] += n
	g.head = head
}

// tell appends a push for every subscription that misses something, and ends the gap.
func (g *gap) tell(b []byte) []byte {
	p := wire.RESP2
	if g.head == '>' {
		p = wire.RESP3
	}
	for filter, n := range g.lost {
		b = appendLost(b, p, filter, n)
	}
	g.lost = nil
	return b
}
