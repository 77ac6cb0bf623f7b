package locks

import (
	"container/list"

	"github.com/ipcd/ipcd/internal/pieces"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// A connection is what the locks know of a session: most know nothing.
type connection struct {
	process   *holder                         // the watched process of the peer, after its first lock
	held      int                             // locks that end with this connection and have no REQID
	untold    pieces.Slice[untoldGrant]       // what it was granted when it had ended
	returned  int                             // so many of these, from the first, are given back
	ancestors []lockmgr.Process               // as process.ancestors, for requests that no process is watched for
	detaching bool                            // some of these are detached, and not all: see detach
	requests  requestSet                      // those with a REQID that wait on this connection, or were granted here
	follows   map[lockmgr.Token]*list.Element // itself, in what stands under the token in followers
}

// Bound is how many locks end with a connection.
func (s *Service) Bound(sess *session.Session) int {
	x := s.part.Of(sess)
	if x == nil {
		return 0
	}
	return x.held + x.requests.bound()
}
