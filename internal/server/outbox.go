package server

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc/wire"
)

// An outbox is what a session is to be sent. During a turn it is a sequence of pieces: bytes of its own (replies), and
// ranges of turn buffers, into which a message is encoded once for all who get it. The range at the end of the sequence
// may be open: it grows as its turn buffer does, with no work for this session. At the turn's end all pieces go out in
// one write. What the socket does not take becomes bytes of the session's own, the backlog, and the session is blocked:
// until it drains, whatever more it is sent is copied behind the backlog, up to the limits: see backlog.go.
type outbox struct {
	own      []byte // from the pool; nil if empty. Invariant: whole RESP values
	*shelf          // the backlog before own; noShelf unless blocked
	sent     int    // bytes of the backlog's first part that are written already; above 0 only while blocked
	cut      int    // bytes of own that the pieces cover
	pieces   []piece
	open     *turnBuffer      // where the open range is, or nil
	from     int              // where it begins
	losses   map[string]int64 // by filter: messages dropped since the last that was queued
	blocked  bool             // the socket is full: no pieces, no open range
	dropping bool             // what comes is lost, until the backlog is down to half of the limit
}

// A piece is bytes [start, end) of a turn buffer, or of the session's own if buf is nil.
type piece struct {
	buf        *turnBuffer
	start, end int
}

const (
	// smallRange is the size up to which a range is copied into the session's own bytes rather than kept as a piece:
	// one small write is quicker than a vector of two.
	smallRange = 1024
	// maxPieces bounds the vector of one write; the kernel takes 1024.
	maxPieces = 64
	// pauseAt is the backlog at which a session's own commands are no longer executed: one who does not read its
	// replies waits for itself.
	pauseAt = 64 << 10
	// maxTurnBytes is how much is encoded and answered in a turn before all is flushed in its middle. With it a
	// session's memory stays within the limit and this.
	maxTurnBytes = 512 << 10
	// maxWrite bounds one write: while a peer on another CPU reads, a socket is never full. What is left is written when epoll
	// says that there is room, which it does at once.
	maxWrite = 512 << 10
)

// backlog is the number of the session's own bytes that are not written.
func (o *outbox) backlog() int { return o.shelved + len(o.own) - o.sent }

// closeRange ends the open range, so that something else can follow it.
func (o *outbox) closeRange() {
	t := o.open
	if t == nil {
		return
	}
	o.open = nil
	t.turn.steady = false
	if len(t.b)-o.from <= smallRange || len(o.pieces) >= maxPieces {
		o.own = append(o.own, t.b[o.from:]...)
		return
	}
	o.cutOwn()
	o.pieces = append(o.pieces, piece{t, o.from, len(t.b)})
}

// dropRange gives up the open range of a session that has ended.
func (o *outbox) dropRange() {
	if o.open != nil {
		o.open.turn.steady = false
		o.open = nil
	}
}

// openRange begins a range at an offset of a turn buffer.
func (o *outbox) openRange(t *turnBuffer, from int) {
	o.closeRange()
	o.open, o.from = t, from
}

// cutOwn makes a piece of the own bytes that no piece covers.
func (o *outbox) cutOwn() {
	if o.cut < len(o.own) {
		o.pieces = append(o.pieces, piece{nil, o.cut, len(o.own)})
		o.cut = len(o.own)
	}
}

// A turnBuffer holds the messages of one route in one protocol, of this turn.
type turnBuffer struct {
	b      []byte
	starts []int // where messages begin: as far as somebody had to know
	turn   *routeTurn
}

// messageAt is where the message begins to which the byte at an offset belongs. Many sessions may ask in one turn, about
// many messages.
func (t *turnBuffer) messageAt(offset int) int {
	if len(t.starts) == 0 {
		t.starts = append(t.starts, 0)
	}
	for last := t.starts[len(t.starts)-1]; last < offset; last = t.starts[len(t.starts)-1] {
		t.starts = append(t.starts, last+valueLen(t.b[last:]))
	}
	i, found := slices.BinarySearch(t.starts, offset)
	if !found {
		i--
	}
	return t.starts[i]
}

// A routeTurn is what a route carries in this turn.
type routeTurn struct {
	buffers [2]turnBuffer // RESP2, RESP3
	// steady says that every subscriber of the route has its open range in one of the buffers. Then a message is
	// delivered to all of them by encoding it.
	steady bool
	used   bool // in Server.usedTurns
	slot   int  // of the route
}

func (t *routeTurn) buffer(p wire.Proto) *turnBuffer { return &t.buffers[p-wire.RESP2] }

// routeTurn is the turn state of a route.
func (s *Server) routeTurn(slot int) *routeTurn {
	for slot >= len(s.routeTurns) {
		s.routeTurns = append(s.routeTurns, nil)
	}
	t := s.routeTurns[slot]
	if t == nil {
		t = &routeTurn{slot: slot}
		t.buffers[0].turn, t.buffers[1].turn = t, t
		s.routeTurns[slot] = t
	}
	return t
}

// unsettle is to be called where a route's subscribers changed.
func (s *Server) unsettle(slot int) {
	if slot < len(s.routeTurns) && s.routeTurns[slot] != nil {
		s.routeTurns[slot].steady = false
	}
}

// deliver gives a message to the subscribers of its routes and counts them; many says that these are not all of its routes. What it
// encodes is flushed between routes when it gets too much: a connection may have subscriptions without end that all match.
func (s *Server) deliver(routes []*bus.Route[*session], m *message, many bool) (delivered, dropped int) {
	for _, r := range routes {
		var subs []*session
		if m.age == 0 {
			subs = r.Subs()
		} else if subs = r.SubsAt(m.age); len(subs) == 0 {
			continue // all have gone since, and the slot may be another's
		}
		if many && r.Len() == 1 && !s.inTurn(r.Slot) {
			d, l := s.deliverAlone(r, subs[0], m)
			delivered, dropped = delivered+d, dropped+l
			continue
		}
		t := s.routeTurn(r.Slot)
		t.steady = t.steady && len(subs) == r.Len()
		if !t.used {
			t.used = true
			s.usedTurns = append(s.usedTurns, t)
		}
		var start [2]int // where m is in each buffer
		for i := range t.buffers {
			b := &t.buffers[i]
			start[i] = len(b.b)
			if t.steady && start[i] > 0 {
				s.encode(b, r, wire.RESP2+wire.Proto(i), m)
			}
		}
		if t.steady {
			delivered += r.Len()
			continue
		}
		t.steady = len(subs) == r.Len()
		for _, sess := range subs {
			if sess.is(stateDead | stateClosing | stateLate) {
				t.steady = false
				if !s.mayReceive(sess) {
					continue
				}
			}
			if sess.blocked && s.isFullOf(sess, m) { // not even encoded
				t.steady = false
				sess.lose(r.Text)
				dropped++
				continue
			}
			b := t.buffer(sess.proto)
			from := start[sess.proto-wire.RESP2]
			if len(b.b) == from {
				s.encode(b, r, sess.proto, m)
			}
			switch {
			case sess.blocked:
				t.steady = false
				taken, lost := s.enqueue(sess, r, b.b[from:], m.seq)
				if taken {
					delivered++
				}
				dropped += lost
			default:
				if sess.open != b {
					s.touch(sess)
					sess.openRange(b, from)
				}
				delivered++
			}
		}
		if s.turnBytes > maxTurnBytes {
			s.flushAll()
		}
	}
	return delivered, dropped
}

// encode appends m to a turn buffer.
func (s *Server) encode(t *turnBuffer, r *bus.Route[*session], p wire.Proto, m *message) {
	if t.b == nil {
		t.b = s.pool.get()
	}
	before := len(t.b)
	t.b = m.append(t.b, p, r.Kind, r.Text)
	s.turnBytes += len(t.b) - before
}

func (s *session) lose(filter string) {
	if s.losses == nil {
		s.losses = map[string]int64{}
	}
	s.losses[filter]++
}

// tellLosses appends a push for every subscription that missed messages here.
func (s *session) tellLosses() {
	for filter, n := range s.losses {
		s.own = appendLost(s.own, s.proto, filter, n)
	}
	s.losses = nil
}

// send appends bytes to what the session is to be sent, behind all that is there.
func (s *Server) send(sess *session, b []byte) {
	if sess.is(stateDead) {
		return
	}
	s.touch(sess)
	if sess.open != nil {
		sess.closeRange()
	}
	if sess.own == nil {
		sess.own = s.pool.get()
	}
	sess.own = append(sess.own, b...)
	s.turnBytes += len(b)
}

// touch has the session flushed at the turn's end.
func (s *Server) touch(sess *session) {
	if !sess.is(stateTouched) {
		sess.state |= stateTouched
		s.touched = append(s.touched, sess)
	}
}

// flush writes a session's outbox, or what the socket takes of it.
func (s *Server) flush(sess *session) {
	switch {
	case sess.blocked:
		// The socket was full, and will be until epoll says otherwise.
	case sess.long() != nil && !s.writeLong(sess):
		if !sess.is(stateDead) {
			sess.closeRange()
			s.keepPieces(sess, 0)
			s.block(sess)
		}
	case len(sess.own) == 0 && len(sess.pieces) == 0 && sess.open != nil:
		// Nothing but one range: no copy.
		t, from := sess.open, sess.from
		sess.open = nil
		if n := s.write(sess, t.b[from:]); n < len(t.b)-from && !sess.is(stateDead) {
			start := t.messageAt(from + n)
			sess.own = append(s.pool.get(), t.b[start:]...)
			sess.sent = from + n - start
			s.block(sess)
		}
	default:
		sess.closeRange()
		if len(sess.pieces) == 0 {
			if n := s.write(sess, sess.own); n < len(sess.own) && !sess.is(stateDead) {
				sess.sent = n
				s.block(sess)
			}
		} else {
			s.flushPieces(sess)
		}
	}
	switch {
	case sess.is(stateDead):
	case !sess.blocked:
		s.releaseOwn(sess)
		if sess.is(stateClosing) {
			s.kill(sess, "")
		}
	default:
		s.settleBlocked(sess)
	}
}

// flushPieces writes the pieces with one vectored write.
func (s *Server) flushPieces(sess *session) {
	sess.cutOwn()
	total := 0
	vec := s.vec[:0]
	for _, p := range sess.pieces {
		b := sess.bytes(p)
		total += len(b)
		vec = append(vec, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
	}
	n := s.writev(sess, vec)
	clear(vec)
	s.vec = vec[:0]
	if n < total && !sess.is(stateDead) {
		s.keepPieces(sess, n)
		s.block(sess)
	}
	sess.dropPieces()
}

func (o *outbox) dropPieces() {
	clear(o.pieces)
	o.pieces = o.pieces[:0]
	if cap(o.pieces) > 8 {
		o.pieces = nil
	}
}

func (o *outbox) bytes(p piece) []byte {
	if p.buf == nil {
		return o.own[p.start:p.end]
	}
	return p.buf.b[p.start:p.end]
}

// block notes that the socket is full.
func (s *Server) block(sess *session) {
	sess.setBlocked()
	s.watch(sess)
}

// drain goes on writing the backlog of a blocked session.
func (s *Server) drain(sess *session) {
	if sess.long() != nil && !s.writeLong(sess) {
		s.awaitRoom(sess)
		return
	}
	for most := maxWrite; ; {
		part := sess.oldest()
		if len(part) == 0 {
			break
		}
		n := s.write(sess, part[sess.sent:])
		if sess.is(stateDead) {
			return
		}
		sess.sent += n
		if most -= n; sess.sent < len(part) || most <= 0 {
			s.awaitRoom(sess)
			return
		}
		s.passOn(sess)
	}
	sess.blocked, sess.dropping = false, false
	s.releaseOwn(sess)
	s.goOnUnblocked(sess)
	s.watch(sess)
	if len(sess.losses) > 0 {
		s.touch(sess)
		sess.tellLosses()
	} else if sess.is(stateClosing) {
		s.kill(sess, "")
		return
	}
	s.runLater(sess)
}

// awaitRoom has epoll tell when there is room, also if there is: a short write may have another cause than a full socket.
func (s *Server) awaitRoom(sess *session) {
	if sess.events&unix.EPOLLOUT == 0 {
		s.watch(sess)
	} else {
		s.lookAgain(sess)
	}
}

func (s *Server) releaseOwn(sess *session) {
	s.freeOwn(sess)
	s.account(sess)
}

// write sends b and returns how much of it was taken. A peer that is gone ends the session.
func (s *Server) write(sess *session, b []byte) int {
	if len(b) == 0 {
		return 0
	}
	b = b[:min(len(b), maxWrite)]
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(sess.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	return s.written(sess, int(n), errno)
}

func (s *Server) writev(sess *session, vec []unix.Iovec) int {
	msg := unix.Msghdr{Iov: unsafe.SliceData(vec), Iovlen: uint64(len(vec))}
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(sess.fd), uintptr(unsafe.Pointer(&msg)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return s.written(sess, int(n), errno)
}

func (s *Server) written(sess *session, n int, errno unix.Errno) int {
	switch errno {
	case 0:
		return n
	case unix.EAGAIN:
		return 0
	case unix.EINTR, unix.ENOBUFS, unix.ENOMEM:
		s.lookAgain(sess) // there may be room all the same: nothing else would say so
		return 0
	}
	s.kill(sess, "") // EPIPE, ECONNRESET: the peer is gone
	return 0
}

// A bufferPool keeps buffers that are empty now. Only the loop uses it.
type bufferPool struct {
	free  [][]byte
	bytes int
}

const (
	newBuffer    = 1 << 10
	largestKept  = 1 << 20
	mostKeptFree = 2 << 20 // in all
)

func (p *bufferPool) get() []byte {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		p.bytes -= cap(b)
		return b
	}
	return make([]byte, 0, newBuffer)
}

func (p *bufferPool) put(b []byte) {
	if cap(b) == 0 || cap(b) > largestKept || p.bytes+cap(b) > mostKeptFree {
		return
	}
	p.free = append(p.free, b[:0])
	p.bytes += cap(b)
}
