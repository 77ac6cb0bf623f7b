package locks

import (
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/lockmgr"
)

// Whose a claim is: that of the connection which asked for it, or with a REQID that of the request, which may have belonged to several
// connections. Who has a claim in hand asks here, and need not know that there are REQIDs.

// bind counts the holds that end with a connection, and what is held by a request with a REQID.
func (s *Service) bind(e *lockmgr.Effect, n int) {
	if r := s.requests.byID[e.ID]; r != nil {
		r.count(e, n)
	} else if sess := s.conns[e.Conn]; sess != nil && e.Bind == lockmgr.ToConnection {
		s.part.In(sess).held += n
	}
}

// connection is the one that asked for a claim, or with a REQID did so last; nil if it has ended.
func (s *Service) connection(c *lockmgr.Claim) *session.Session {
	if r := s.requests.byID[c.ID]; r != nil {
		return r.Session()
	}
	return s.conns[c.Conn]
}

// clientOf is the number of the connection that a claim was asked for on: with a REQID, the one that it was sent on last. It is
// 0 if that was before a restart of the daemon.
func (s *Service) clientOf(c *lockmgr.Claim) uint64 {
	if r := s.requests.byID[c.ID]; r != nil {
		return r.Session().ID
	}
	return uint64(c.Conn)
}

// commandOf is the command with a REQID that a claim was granted to, nil if there is none.
func (s *Service) commandOf(c *lockmgr.Claim) *record.Command {
	if r := s.requests.byID[c.ID]; r != nil {
		return r.recorded(c.Name)
	}
	return nil
}

// claimSettled is called when all whom an effect concerns are told: there may be nothing left of a request but its outcome.
func (s *Service) claimSettled(c *lockmgr.Claim) {
	if r := s.requests.byID[c.ID]; r != nil {
		r.Rest()
	}
}
