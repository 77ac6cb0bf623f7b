package server

import "github.com/ipcd/ipcd/internal/session"

// The following is what sessions call, beside Execute (dispatch.go) and Continue (transaction.go): see session.Host. Each goes to the
// services whose it is, in the order in which it is to be done.

// Closed ends the subscriptions, requests, follows, waits and holds that end with the connection, has its wills be published, and then tells of its
// end.
func (h *host) Closed(sess *session.Session) bool {
	if !h.messages.Closed(sess) || !h.asking.Closed(sess) || !h.locks.Closed(sess) {
		return false
	}
	h.wills.Closed(sess)
	(*Server)(h).announceDisconnected(sess)
	return true
}

// Receives is known to the messages.
func (h *host) Receives(sess *session.Session) (lossy, strict bool) { return h.messages.Receives(sess) }

// Dropped is counted by the messages.
func (h *host) Dropped(n int) { h.messages.Dropped(n) }

// HasRoom is known to the messages.
func (h *host) HasRoom(sess *session.Session) { h.messages.HasRoom(sess) }

// Taken is known to the messages.
func (h *host) Taken(sess *session.Session) { h.messages.Taken(sess) }

// Lost is told to whoever has subscribed to that.
func (h *host) Lost(sess *session.Session, n int) { (*Server)(h).noteLoss(sess, n) }
