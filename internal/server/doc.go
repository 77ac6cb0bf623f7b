// Package server is the loop: one goroutine that owns every connection and the services (packages messages
// and locks). It knows the commands and the order of a turn; what services have in hand of those who ask is package session.
//
// # A turn
//
// The loop waits for events (package loop), and then, in one turn, reads what peers have sent, cuts it into commands (package conn) and
// has their services execute them (dispatch.go), each by at most one call of an engine. What the engines answer, that a
// lock is granted or a message has receivers, is carried out at once: appended to the outboxes of those whom it concerns. At the end
// of the turn every touched outbox is written with one system call (the last of very many in a later turn), and what ended is buried.
// All of a turn happens at one time, on one clock.
//
// # What follows from it
//
//   - All sessions see one order of events. A message or event is never seen before the state that it tells of.
//   - Appending to an outbox does not block. A peer that does not read fills its own outbox, up to the limit; then its
//     subscriptions lose messages and are told how many (BUS.SUB), or it is disconnected (SUBSCRIBE, as Redis does), and
//     its own commands wait. Nobody else notices.
//   - A message is encoded once for all subscribers of a route, and copied only for those whose socket is full.
//   - What has changed of a lock is recorded before anybody is told of it (locks), and whoever has an outcome to tell gives it to
//     an answer, which knows whom and how (session.Answer).
//   - A wait is a record in the lock engine. The connection's later commands wait with it, unless it was ASYNC.
//   - The replies of a connection come in the order of its commands.
//   - A command with a REQID is executed once, on however many connections it comes (session.Request).
//   - What a peer can make the server hold is bounded per connection and per user (Limits). What a user has, and what of a turn's
//     time, is kept by package account.
//
// # What may not happen here
//
// Anything that blocks: files, the disk, other processes. It runs elsewhere and is posted (Server.Post).
//
// # Names
//
// A session is one connection, with what hangs on it. A process is one that is watched through its pidfd because it has a lock. A user
// is a uid's account. A route, of the bus, is what all subscriptions of one kind and text share.
package server
