package locks

import (
	"container/list"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// A hold may outlive the connection that acquired it, and then nobody would be told when it is lost. So any connection may follow
// it, by its token: that of a process which has connected anew, of one that the token was given to, of a resource that lets its
// holder in. It is told what the one that acquired is told, and also of an end that is no loss, as that is not its own doing.
//
// To follow is charged as a subscription, which it is: to one hold, and for no longer than that or the connection lasts.

// followers are the connections that follow holds, by the token, which no other hold of any lock has.
type followers map[lockmgr.Token]*list.List // of *session.Session

// lockFollow has a connection told of what happens to a hold.
func (s *Service) lockFollow(c *session.Call) {
	hold, ok := s.namedHold(c)
	if !ok {
		return
	}
	sess, p := c.Session, c.Session.Proto()
	if p != wire.RESP3 {
		c.Fail(wire.CodeErr, "LOCK.FOLLOW tells by pushes: say HELLO 3 first")
		return
	}
	if x := s.part.In(sess); x.follows[hold.Token] == nil {
		if !c.Room(account.Subscriptions, 1) {
			return
		}
		all := s.followers[hold.Token]
		if all == nil {
			all = list.New()
			s.followers[hold.Token] = all
		}
		if x.follows == nil {
			x.follows = map[lockmgr.Token]*list.Element{}
		}
		x.follows[hold.Token] = all.PushBack(sess)
		sess.User().Count(account.Subscriptions, 1)
	}
	c.Map(5)
	c.Bulk("name")
	c.Bulk(hold.Name)
	c.Bulk("token")
	c.Integer(int64(hold.Token))
	c.Bulk("mode")
	c.Bulk(modeOf(&hold, s.locks.Limit(hold.Name)))
	c.Bulk("bound")
	c.Bulk(boundOf(&hold))
	c.Bulk("left")
	c.Integer(left(&hold, s.set.Now()))
}

// tellFollowers tells those who follow a hold what happened to it, unless they were told already as the one that acquired it.
func (s *Service) tellFollowers(e *lockmgr.Effect) {
	if len(s.followers) == 0 || e.Kind != lockmgr.Ended && e.Kind != lockmgr.Expiring {
		return
	}
	all := s.followers[e.Token]
	if all == nil {
		return
	}
	owner := s.connection(&e.Claim)
	for f := all.Front(); f != nil; {
		sess := f.Value.(*session.Session)
		f = f.Next()
		switch {
		case e.Kind == lockmgr.Ended:
			s.unfollow(sess, e.Token)
			if sess != owner || !e.End.Lost() {
				s.pushLost(sess, e)
			}
		case sess != owner:
			s.pushExpiring(sess, e)
		}
	}
}

// unfollow has a session not be told of a hold any more.
func (s *Service) unfollow(sess *session.Session, t lockmgr.Token) {
	all := s.followers[t]
	x := s.part.Of(sess)
	all.Remove(x.follows[t])
	if all.Len() == 0 {
		delete(s.followers, t)
	}
	delete(x.follows, t)
	sess.User().Count(account.Subscriptions, -1)
}

// mostUnfollowed is how many follows are ended at once.
const mostUnfollowed = 128

// dropFollows ends what a session follows that is gone, or as much as may be ended at once. It reports whether nothing is left.
func (s *Service) dropFollows(sess *session.Session) bool {
	x := s.part.Of(sess)
	if x == nil {
		return true
	}
	n := 0
	for t := range x.follows {
		if n++; n > mostUnfollowed {
			return false
		}
		s.unfollow(sess, t)
	}
	return true
}
