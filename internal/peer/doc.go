// Package peer says who is at the other end of a Unix socket, as the kernel knows it, and how that process ended.
//
// [Of] is asked once for a connection, when it is accepted. User, groups and process are those that connected, not
// those that use the socket now: the children of a pre-forking server share their parent's identity. The user and the
// groups come with the socket itself and cannot be wrong. The start time and the unit are read from /proc by the
// process's number, and numbers are used again; so both are kept only if the process still had its number afterwards,
// which its pidfd tells. A process that is gone by then has neither. (Before Linux 6.5 a socket has no pidfd to ask,
// and what /proc says is believed.)
//
// Of a process that lives, and that /proc does not show from here, Start is 2^52 and a number of the kernel's that no other
// process has: it is outside of this PID namespace (its PID is 0 then), or /proc is not mounted or hides it (hidepid). Before
// Linux 6.9 there is no such number, and Start is 0.
//
// A pair of number and start time names a process for as long as the machine runs, a number alone does not. A pidfd
// is better still: it refers to one process for ever and becomes readable when that process ends. [PIDFD] gets one
// for a socket's peer, [FromPIDFD] says whom a received one refers to, [Connected] whether that is the peer itself, [Ended] and [Status] what became of it.
//
// Nothing here keeps state, apart from a small cache that spares most connections the parsing of a cgroup's path.
// Nothing here waits: every call is a few short system calls, fit for an event loop.
package peer
