package session

import "fmt"

// VerifyRequests checks that each command with a REQID is where it belongs: something is left of it, or it is over. What is left is
// checked by who has it.
func (s *Set) VerifyRequests() {
	q := &s.requests
	over, size := map[uint32]int{}, map[uint32]int{}
	for key, r := range q.byKey {
		isLive := r.outcome == nil || r.lasting != nil && r.lasting.IsLeft()
		switch {
		case key != r.key || isLive == (r.over != nil):
			panic(fmt.Sprintf("REQID %q of process %d: is over: %v, outcome %T", key.ID, key.PID, r.over != nil, r.outcome))
		case r.over != nil:
			over[key.UID]++
			size[key.UID] += r.size
		}
	}
	for uid, mine := range q.users {
		if mine.Len() != over[uid] || mine.bytes != size[uid] || mine.Len() > MaxOutcomes || mine.bytes > MaxOutcomeBytes {
			panic(fmt.Sprintf("user %d has %d outcomes of %d bytes, counted %d and %d", uid, over[uid], size[uid], mine.Len(), mine.bytes))
		}
	}
}

// verifyTimers checks that what has a deadline has a timer, and nothing else.
func (q *requests) verifyTimers(check CheckTimer) {
	for key, r := range q.byKey {
		check(fmt.Sprintf("REQID %q", key.ID), &r.expires, r.over != nil)
	}
}
