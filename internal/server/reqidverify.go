package server

import (
	"fmt"

	"github.com/ipcd/ipcd/internal/loop"
	"github.com/ipcd/ipcd/lockmgr"
)

// verifyRequests checks that each command with a REQID is where it belongs: it waits or holds, or it is over.
func (s *Server) verifyRequests() {
	q := &s.requests
	held, live, over, size := map[lockmgr.RequestID]int{}, 0, map[uint32]int{}, map[uint32]int{}
	for v := range s.locks.All() {
		for _, c := range v.Holders {
			held[c.ID]++
		}
	}
	for key, r := range q.byKey {
		isLive := r.outcome == nil || r.held > 0
		switch {
		case key != r.key || isLive == (r.over != nil) || (r.grace != nil) != (r.process != nil):
			panic(fmt.Sprintf("REQID %q of process %d: %d holds, outcome %T", key.id, key.process.PID, r.held, r.outcome))
		case r.over != nil:
			over[key.uid]++
			size[key.uid] += r.size
			continue
		case r.id == 0: // for the disk
			continue
		}
		live++
		_, linked := r.sess.extra().requests[r]
		if q.byID[r.id] != r || r.held != held[r.id] || linked && r.grace != nil {
			panic(fmt.Sprintf("REQID %q of process %d: %d holds, counted %d", key.id, key.process.PID, held[r.id], r.held))
		}
		if !linked && r.grace == nil && !s.stopping && (r.outcome == nil || r.bound > 0 || !r.told) {
			panic(fmt.Sprintf("REQID %q of process %d belongs to no connection", key.id, key.process.PID))
		}
	}
	if live != len(q.byID) {
		panic(fmt.Sprintf("%d requests wait or hold, counted %d", live, len(q.byID)))
	}
	for uid, mine := range q.users {
		if mine.Len() != over[uid] || mine.bytes != size[uid] || mine.Len() > maxOutcomes || mine.bytes > maxOutcomeBytes {
			panic(fmt.Sprintf("user %d has %d outcomes of %d bytes, counted %d and %d", uid, over[uid], size[uid], mine.Len(), mine.bytes))
		}
	}
}

// verifyTimers checks that what has a deadline has a timer, and nothing else.
func (q *requests) verifyTimers(check func(what string, t *loop.Timer, want bool)) {
	first := q.detached.Front()
	if check("graces", &q.graces, first != nil); first != nil && q.graces.At() != first.Value.(*request).by {
		panic(fmt.Sprintf("graces end at %v, but the first at %v", q.graces.At(), first.Value.(*request).by))
	}
	for key, r := range q.byKey {
		check(fmt.Sprintf("REQID %q", key.id), &r.expires, r.over != nil)
	}
}
