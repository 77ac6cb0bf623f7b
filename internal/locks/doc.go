// Package locks is the service of locks: it has the lock engine (package lockmgr) grant and end what clients ask for, and
// tells whom it concerns.
//
// # What it promises
//
//   - What has changed is recorded before anybody is told of it: each change of the engine is a step (step.go), which is accounted for and
//     written to the journal as a whole, and then told. A hold that is to outlive the daemon and cannot be written down is refused.
//   - A hold ends with what it is bound to: its connection, its process, a cgroup, a lease; or, if it is an operator's, with nobody. The
//     next holder is told how it ended, as well as the kernel knows (package process), and is not told later than some milliseconds
//     after that.
//   - A wait is a record in the engine. The later commands of its connection wait with it, unless it was ASYNC.
//   - A LOCK.ACQUIRE with a REQID keeps its place in the queue, and what it was granted, for a while after its connection has ended
//     (detached.go).
//   - What ends with very much, or is taken from very many, is ended bit by bit, in the share of the user whose doing it is (remains.go).
//   - What a daemon before this one had written down is taken up, and its holders are found again (holders.go, operators.go).
//
// # What it asks of others
//
// What happens to locks is published by an interface, [Events]: where that goes is not known here. What the configuration says comes by
// [Service.SetLimits]. Who may do something to somebody's hold is asked of the call (session.Call.MayAct).
//
// # Where things are
//
// service.go is what others call, cmd_*.go are the handlers, step.go is the only file that changes the engine, effects.go says what
// follows from a change, and events.go how it is told to those who look on. A request that outlives its connection is in request.go
// and detached.go, and whose a claim is in claimant.go. Of REQID the others know that it is a word which a command may have.
package locks
