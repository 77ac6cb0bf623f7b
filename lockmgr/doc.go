// Package lockmgr is the engine of named locks: who holds one, who waits for it, and who is next. It is pure. It opens
// no socket and no file, starts no goroutine and reads no clock: whoever drives it tells it what happened and when, one
// call after the other, and carries out what comes of it. The same calls at the same times give the same outcome.
//
// # Claims
//
// Who asks for a lock ([Manager.Acquire]) is refused at once, or has a [Claim] on it from then on:
//
//	                 refused: ErrBusy, ErrDeadlock, ErrUpgrade, ErrLimit, ErrExhausted; to join: ErrNotHeld, ErrStale
//	                   ↑
//	  Acquire ─────────┼──────────────────→ waits ──→ gone   TimedOut: Expire
//	                   │                      │              Cancelled: Cancel, CancelConn, EndConn, EndProcess
//	nobody waits, it   │  it is at the head,  │
//	is compatible, and │  is compatible, and  │
//	there is a token   ↓  there is a token    ↓
//	                 holds ←──────────────────┘
//	                   │
//	                   └──→ gone   Ended or Left: Release, GiveBack, Leave, Break, Expire, EndConn, EndProcess
//
// Each arrow of a claim is one [Effect]. The caller takes them with [Manager.Effects] in the order in which they
// happened, answers those who wait, and tells the world. Two kinds of effects are not of a claim, but of what is
// remembered of a lock: Learned and Forgotten.
//
// An owner is a process, or one of several owners in it that go by labels, and has at most one claim on a lock. Asking
// for what one holds, or waits for already, would be to wait for oneself: it is refused with [ErrDeadlock] (with
// [ErrBusy] if it would not wait, which is the same answer as to anybody else), unless the token is shown.
//
// # Holds and their members
//
// What a grant gives is a hold: a token, a mode, some units. Its first member is the claim that was granted. More join
// it by showing its token: the command that the holder started and that asks for the same lock (Request.Shown), or
// somebody who was given the token to work under its protection (Request.Join). They need not queue, as what they enter
// has been granted already, and they must not ask for more than it is: from shared to exclusive or from few units to
// many is [ErrUpgrade], at once, since two who share and both waited for that would wait for ever. The same owner may
// enter again; he is counted, and leaves as often.
//
// The hold ends when its last member has left, in whatever order they came. So the lock stays held while a member works,
// even if the one who was granted it has died. [Manager.Release] and [Manager.Break] end it for all members.
//
// The other way, from exclusive to shared, is [Manager.Downgrade]. It never waits, and lets in those at the head of the
// queue who share.
//
// A member ends with what it is bound to ([Binding]): the process that owns it, which may be a group of processes ([Group]), or also the connection that asked for
// it, or a lease alone, or nothing, as the hold of an operator who has gone home. With any of them there may be a
// lease, each member its own.
//
// # Semaphores
//
// A lock has a number of units, its limit: 1, or what [Manager.SetLimits] or the one who first uses it says. An
// exclusive claim takes some of them, or all; a shared one takes none, and stands only with others that share. The
// limit lasts for as long as somebody holds the lock or waits for it. Who thinks that it is another, or asks for more
// than that, would never be granted, and is refused: [LimitError].
//
// # Several at once
//
// A request for a set of names queues for all of them in one step, and is granted all of them in one step, when it is at
// the head of all queues and compatible everywhere. It never holds some while it waits for others. As the queues were
// joined at once, two sets are in the same order wherever they meet, so sets never wait for each other in a circle,
// whatever the order of their names. The price is paid by those behind it: they wait at the head of a lock that may be
// free, or somebody could starve the set.
//
// A name of the set whose token is shown is entered at once, and left again if the rest is not granted. If the owner
// loses it meanwhile, the rest of the set is cancelled: he would work without a lock that he asked for.
//
// # What is guaranteed
//
// Holds are compatible: all of them shared, or exclusive with no more units than there are.
//
// The queue of a lock is first come, first served, whatever is asked for. A request is granted at once only if nobody
// waits, so none overtakes another: not a shared request the exclusive one before it although it fits the holders, not
// one unit the five before it, and not one that would not wait at all. So nobody starves, as long as holders let go.
// Those that stand together at the head and are compatible are granted together, very many of them in several steps, so that
// others have theirs in between ([Manager.GrantMore]): who asks meanwhile waits behind them.
//
// Nobody waits for nothing: when a step is over, no request that heads its queues is compatible with the holders,
// unless tokens have run out, or the step has granted as much as one may.
//
// A claim ends with what it is bound to. A wait ends with the connection that asked and with the owner's process. A
// step that ends several claims ends all of them before it grants anything, so nothing is granted to one that is about
// to end. The claims of a connection or a process that has very many may be ended in several steps, so that others have theirs
// in between ([Manager.EndConn]). Then the waits end before the holds, and the last before the first: what one gives up goes to
// others, and not to those that are left. A step of somebody else's in between may still grant these something.
//
// Who would wait for ever without a time-out, because those he waits for wait for him, is told so instead.
//
// # What is not
//
// There are no priorities. A priority is a way to overtake, whoever is overtaken may starve, and a low one that holds
// what a high one waits for has to inherit from it; that is much to explain for what a second lock does better.
//
// Order is kept within a lock, not between locks.
//
// A time-out ends a wait when [Manager.Expire] says so. A request whose time is over, but which nobody has said it of,
// may still be granted, and a lease whose time is over may still be renewed.
//
// The Manager believes its caller. It does not judge who may ask, release, show a token or see; it puts no limit on
// names, lengths and numbers of claims; and a process or a connection that was ended must not ask again.
//
// # Deadlock
//
// When a request would wait for ever, the Manager looks for what it would wait for: the holds that it is not compatible
// with, and those before it in the queue. A hold does not end before its members have stopped waiting for other locks,
// and those who act for it by showing its token. If the way leads back to the one who asks, and units that somebody
// else may give back cannot help, he would close a cycle: he is refused, with the cycle ([DeadlockError]), and nobody
// else is disturbed. As cycles are closed by requests only, it need not be looked for at any other time. How units are
// reckoned with is the reduction of resource graphs: R. C. Holt, Some Deadlock Properties of Computer Systems, ACM
// Computing Surveys 4 (3), 1972.
//
// What ends by itself is no part of a cycle: a wait that times out, a hold that is leased. Nor is an operator's hold,
// which anybody with the right to may end. A process that lost the tokens it was given is not seen to act for those who
// started it, but it is not left to wait for them either: it is refused to wait for a hold of a process that it
// descends from (Request.Ancestors).
//
// It cannot know what is not a lock: a process that waits for another in some other way, or a thread of an owner who has
// two threads. An owner who waits for two locks at once is taken to be able to go on with either; give each thread a
// label.
//
// # Leases
//
// A lease ends a hold at a time, in the clock that also counts while the machine is suspended ([Time].Boot). It begins
// with the grant, and each [Manager.Renew] has it end so long after that moment. Expire tells of it with
// [Expiring] when a third of it is left, but no earlier than thirty seconds before the end; after a restart perhaps once
// more. The owner who does not notice is what tokens are for.
//
// # Tokens
//
// Each grant has a token, higher than that of every grant before it, of any lock. A resource that remembers the highest
// token which it has seen can refuse the work of a holder who lost the lock without noticing. That must stay true when
// the program that contains the Manager crashes, when the machine does, and when somebody sets the clock back. So:
//
//	token = max(last + 1, realtime in µs), or last + 1 if the realtime is above the mark
//
// The mark is what the caller has made durable: no token above it is ever given. While it lags behind the clock, as
// after an hour in which nothing happened, there are still all the tokens between last and it, so nobody waits for the
// disk. A new Manager starts with last at the mark that was found on disk, and so above all tokens that can have been
// given; the caller writes a higher mark, and only then says so ([New], [Manager.Reserve]). While last has reached the
// mark nothing is granted: requests queue, or get [ErrExhausted] if they would not wait, and Reserve grants what waited
// for it. A set needs as many as it has names. To write seldom, the caller keeps the mark well ahead of the realtime,
// by minutes.
//
// The realtime is in it for when the mark is lost (a new disk, a directory cleared by hand): then tokens still rise, if
// the clock does. And a person can read from a token about when it was given. Tokens are below 2^53, so that programs
// which know only floating-point numbers hold them exactly; the realtime gets there in the year 2255.
//
// # How the hold before ended
//
// A grant tells how the latest hold of the lock ended ([End]): released, exited, killed, disconnected, expired, broken,
// unreaped, or unknown. It counts as abandoned if an owner was cut off, by a signal or by the loss of its connection: then
// what the lock guards may be half done. What nobody will ever know is told as unknown, and not taken for abandoned.
//
// With shared holders, or several members, one may be killed, and another release later. So the latest abandoned end is
// kept aside until a holder has been told of it, the first who is granted the lock. It is told beside the latest end,
// and once; unless that holder can do nothing about it, and says so ([Manager.GiveBack]): then the next one is told. Who
// may be killed while he deals with it says beforehand that he is to be taken for one who cannot (Request.Untold), and
// takes that back when it is done ([Manager.Told]).
//
// How a process ended may be known late: when its parent collects its status. Until then it is [Unreaped], and counts as
// abandoned, as it may have been killed. [Manager.Learn] says what it was really, wherever the end is remembered: as the
// latest one, as what the next holder is to be told of, or a present holder may give back. So whoever comes later gets the
// truth, and a clean end leaves no mark. Who was told of an unreaped end, and did not say Untold, has been told: if it
// turns out that the process was killed, nobody is told again, for he knew that it may have been. As each of several such
// ends may turn out to be a clean one, all of them are kept until somebody is told, the latest first ([End.Before]): at
// most sixteen. One that is certainly abandoned goes before them all.
//
// Ends are remembered for locks that are free, but not all for ever: at most [MaxRemembered] for a user, that of the
// holder who was the last. What was not told by then is forgotten too, and [Forgotten] tells that. A lock that is not held, waited for or
// remembered takes no memory at all.
//
// # After a crash
//
// All changes of the state are effects. A caller who keeps a [Snapshot] and the effects of each step after it makes the
// Manager again ([Restore], [Manager.Replay]) and goes on: with the same holds, the same queues in the same order, and
// no token twice. An effect has to be kept before anybody is told of it.
//
// # Cost
//
// Asking, granting, releasing and ending cost the same whatever the length of the queue; a wait with a time-out adds
// the logarithm of how many of those there are, and a set costs as much as its names. Only to leave a crowd of shared
// holders takes longer with its size, by what it takes to move that many pointers.
//
// To look for a deadlock costs little unless somebody waits for what the request keeps from ending, or it would wait for
// a process that its owner descends from. Then it costs as much as the waits and holds that it would wait for: for a
// queue, its length. What costs more than some milliseconds, as when an owner has thousands of locks and waits for
// thousands of others, is given up, and the request waits.
package lockmgr
