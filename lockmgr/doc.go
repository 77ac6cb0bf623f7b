// Package lockmgr is the engine of named locks: who holds one, who waits for it, and who is next. It is pure. It opens
// no socket and no file, starts no goroutine and reads no clock: whoever drives it tells it what happened and when, one
// call after the other, and carries out what comes of it. The same calls at the same times give the same outcome.
//
// # Claims
//
// Who asks for a lock ([Manager.Acquire]) is refused at once, or has a [Claim] on it from then on:
//
//	                 refused: ErrBusy, ErrDeadlock, ErrExhausted
//	                   ↑
//	  Acquire ─────────┼──────────────────→ waits ──→ gone   TimedOut: Expire
//	                   │                      │              Cancelled: Cancel, EndConn, EndProcess
//	nobody waits, it   │  it is at the head,  │
//	is compatible, and │  is compatible, and  │
//	there is a token   ↓  there is a token    ↓
//	                 holds ←──────────────────┘
//	                   │
//	                   └──→ gone   Ended: Release, EndConn, EndProcess
//
// Each arrow of a claim is one [Effect]. The caller takes them with [Manager.Effects] in the order in which they
// happened, answers those who wait, and tells the world.
//
// An owner is a process, or one of several owners in it that go by labels, and has at most one claim on a lock. Asking
// for what one holds, or waits for already, would be to wait for oneself: it is refused with [ErrDeadlock] (with
// [ErrBusy] if it would not wait, which is the same answer as to anybody else).
//
// # What is guaranteed
//
// Holders are compatible: one, or all of them shared.
//
// The queue of a lock is first come, first served, whatever is asked for. A request is granted at once only if nobody
// waits, so none overtakes another: not a shared request the exclusive one before it although it fits the holders, and
// not one that would not wait at all. So nobody starves, as long as holders let go. Shared requests that stand together
// at the head are granted together.
//
// Nobody waits for nothing: when a step is over, no request at the head of a queue is compatible with the holders,
// unless tokens have run out.
//
// A claim ends with what it is bound to. A wait ends with the connection that asked and with the owner's process. A
// hold ends with the owner's process, and also with the connection if it is bound to it ([ToConnection]). A step that
// ends several claims ends all of them before it grants anything, so nothing is granted to one that is about to end.
//
// # What is not
//
// There are no priorities. A priority is a way to overtake, whoever is overtaken may starve, and a low one that holds
// what a high one waits for has to inherit from it; that is much to explain for what a second lock does better.
//
// Order is kept within a lock, not between locks. A cycle of several owners that wait for each other is not seen.
//
// A time-out ends a wait when [Manager.Expire] says so. A request whose time is over, but which nobody has said it of,
// may still be granted.
//
// The Manager believes its caller. It does not judge who may ask, release or see; it puts no limit on names, lengths
// and numbers of claims; and a process or a connection that was ended must not ask again.
//
// # Tokens
//
// Each grant has a token, higher than that of every grant before it, of any lock. A resource that remembers the highest
// token which it has seen can refuse the work of a holder who lost the lock without noticing. That must stay true when
// the program that contains the Manager crashes, when the machine does, and when somebody sets the clock back. So:
//
//	token = max(last + 1, realtime in µs), or last + 1 if the realtime is above the mark
//
// The mark is what the caller has made durable: no token above it is ever given. While it lags behind the clock, as after
// an hour in which nothing happened, there are still all the tokens between last and it, so nobody waits for the disk. A new Manager starts with last at the
// mark that was found on disk, and so above all tokens that can have been given; the caller writes a higher mark, and
// only then says so ([New], [Manager.Reserve]). While last has reached the mark nothing is granted: requests queue, or
// get [ErrExhausted] if they would not wait, and Reserve grants what waited for it. To write seldom, the caller keeps
// the mark well ahead of the realtime, by minutes.
//
// The realtime is in it for when the mark is lost (a new disk, a directory cleared by hand): then tokens still rise, if
// the clock does. And a person can read from a token about when it was given. Tokens are below 2^53, so that programs
// which know only floating-point numbers hold them exactly; the realtime gets there in the year 2255.
//
// # How the hold before ended
//
// A grant tells how the latest hold of the lock ended ([End]): released, exited, killed, disconnected, or unknown. It
// counts as abandoned if the owner was cut off, by a signal or by the loss of its connection: then what the lock guards
// may be half done. What nobody knows is told as unknown, and not taken for abandoned.
//
// With shared holders one may be killed, and another release later. So the latest abandoned end is kept aside until a
// holder has been told of it, the first who is granted the lock. It is told beside the latest end, and once.
//
// Ends are remembered for locks that are free, but not all for ever: at most [MaxRemembered] for a user, that of the
// holder who was the last. What was not told by then is forgotten too. A lock that is not held, waited for or
// remembered takes no memory at all.
//
// # Cost
//
// Asking, granting, releasing and ending cost the same whatever the length of the queue; a wait with a time-out adds
// the logarithm of how many of those there are. Only to leave a crowd of shared holders takes longer with its size, by
// what it takes to move that many pointers.
package lockmgr
