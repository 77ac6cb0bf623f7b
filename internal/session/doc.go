// Package session is what a service has in hand of those who ask: their sessions, calls and answers. It knows nothing of locks and topics.
//
// # What there is
//
//   - A [Session] is a connection (package conn) with what hangs on it: who the peer is, which protocol it speaks, how it is to be
//     answered. What a service knows of a session hangs on it by a [Part], which an idle one has none of.
//   - A [Set] is the sessions and what all services share: the loop, the connections, what users are charged for, the time of the
//     turn, the log and how much of a user is logged.
//   - A [Call] is one command while it is executed by a [Handler]: its words, its reply, who pays for it.
//   - An [Answer] is where the outcome of a command goes, now or later; an [Outcome] says itself in either protocol.
//   - A [Task] is a command that has more to do than a turn has time for.
//   - A [Transaction] is the commands since MULTI, and the replies to them until EXEC is answered.
//   - A [Request] is a command with a REQID. Between the words of a command and what it does is a gate ([Gated]), which knows the
//     repeats; of what a request leaves behind beside its outcome it asks who has that ([Lasting]).
//
// # What it promises
//
//   - The replies of a connection come in the order of its commands, and what it is told besides does not come between the replies to
//     one EXEC.
//   - Whoever has an outcome gives it to an answer, and need not know who is told it: the connection that asked, the one that has
//     repeated the command, nobody, or all who will repeat it.
//   - A command with a REQID is executed once, on however many connections it comes, unless there was no room for it.
//   - What there is of a session is charged to its user, and given back when the connection is closed.
//   - No function blocks, and all belong to the loop's goroutine.
//
// What a session does not know, as which command is executed by what, it asks its [Host]: that is the server.
package session
