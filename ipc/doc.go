// Package ipc is the Go client of ipcd.
//
// ipcd lets the processes of one machine send each other messages and take turns. A program talks to it by
//
//   - a [Client]: one connection for all goroutines of a program, on which waiting holds up nothing else;
//   - a [Link]: a Client that is made anew when its connection has ended, for a program that lives long and is to go on when the
//     daemon was restarted;
//   - a [Conn]: one connection for a short program that does one thing after another, as ipcctl does. It starts no
//     goroutine and is quick to open;
//   - any Redis client, of any language: what is on the wire is RESP.
//
// What both ends of the wire share, the tables of commands and codes and how values are written, is package
// [github.com/ipcd/ipcd/ipc/wire]. A program that sends commands about locks without a Client makes the words of LOCK.ACQUIRE
// by a [LockRequest], and understands replies by [Holds] and [DecodeLockInfo].
//
// # Addresses
//
// Wherever an address is asked for:
//
//	""            $IPCD_SOCKET if that is set, else as "system"
//	"system"      the system's daemon: /run/ipcd/ipcd.sock
//	"user"        the user's own daemon: $XDG_RUNTIME_DIR/ipcd/ipcd.sock
//	"/path"       a socket by its path, which may also be relative; "./user" if it would be taken for one of the above
//	"unix:/path"  the same
//	"@name"       a socket in the abstract name space
//
// There is no fallback from one to another: a login shell and a cron job must not end up on two daemons and both hold
// the lock. If nobody answers, the error is a [*DialError], whose Hint says what may help.
//
// # The wire
//
// A command is an array of strings, or a line typed by hand; a reply is one value, an error begins with a [wire.Code]. On one
// connection replies come in the order of the commands, so commands may be sent ahead (pipelined). With RESP3 the daemon
// also sends pushes, which answer nothing; a Client asks for RESP3, a Conn speaks RESP2 until it says HELLO 3. A command
// that must wait, for a lock, keeps that connection's later commands waiting too, unless it says ASYNC: then it answers
// at once with a ticket, and its outcome is a push. That is how a Client waits.
//
// A command may have as many bytes and words as the daemon's configuration says, by default 1 MiB and 16384
// ([wire.DefaultLimits]). The daemon hangs up on a longer one, so a Client asks for the limits and refuses to send what is over
// them. A reply may have 64 MiB.
//
// # What is promised
//
// Messages: a [Subscription] receives what is published after Subscribe has returned, and of what was before the call the values that
// topics have, in the one order in which the daemon took it from all publishers, each message once. Two subscriptions of a Client
// whose filters overlap each receive a message. A message is delivered at most once; one that a subscription did not take out quickly enough is
// dropped, the oldest first, and counted: [Message].Lost of the next one says how many are missing before it, whether
// the daemon dropped them or the subscription's own buffer did. A publisher is told in the [Receipt] how many
// subscriptions were given the message; whether the programs behind them have acted on it, the daemon does not know.
//
// Requests: [Client.Request] returns the answer of one who serves the topic ([Client.Serve]), in this program or another. It is answered once,
// or fails: with [ErrNoResponders] at once if nobody serves the topic, with [ErrRemote] if the responder has no answer or is gone. The handler
// of a request is told by its context when nobody waits for the answer any more. A request is asked twice only if it is [Repeatable].
//
// Locks: one holder, several that asked for [Shared], or as many as there are units ([Limit]); who asks first is first,
// whatever is asked for. Several names can be asked for at once ([And]). Each call of [Client.Lock] is an owner of its own,
// so two goroutines exclude each other as two programs do; one that acts for a holder says so ([Within], [Inherited]) and
// joins the hold. A hold ends with [Lock.Unlock], with the process, or with the connection, whichever is first;
// [ForProcess], [Lease] and [ForNobody] bind it otherwise, and somebody with the right to may break it: [Lock.Lost] tells,
// and [Lock.Context] ends.
// The next holder is told how the hold before ended. A request that would wait for ever, because those it would wait for
// wait for what its owner holds, fails with [ErrDeadlock] and says who; one with a bounded [Wait] times out instead.
// Lock.Token only ever rises, and lets a resource refuse whoever was overtaken ([Client.CheckToken]).
//
// # Relays
//
// If something stands between the program and the daemon's socket and passes bytes on (socat, ssh -L, systemd-socket-proxyd), the
// daemon sees that process. [Dial] sends a pidfd of this process, which such a relay drops, so the daemon knows. Then
// [ForProcess] is refused with [ErrDenied]: the relay would hold the lock in the program's stead. All else works; messages and
// locks are shown with the relay's identity.
//
// # Contexts
//
// A context bounds the call that it is given to, nothing after that. If it ends while a command is under way, the
// command may still be carried out, and its reply is dropped. Where that would leave something behind, it is put right:
// a lock granted to a [Client.Lock] that gave up is given back, and so is the lead of a [Client.Elect], with its value; a subscription is
// taken down.
//
// # A lost connection
//
// A connection ends when either side closes it: the daemon does when it stops, and when it is sent what is not RESP.
// All calls that wait, and all later ones, then fail with an error that wraps [ErrClosed] and has what the daemon said
// about it; of a command that was under way nobody knows whether it was carried out. [Client.Done] is closed, and so is
// [Lock.Lost] of each lock that was bound to the connection: it may be another's by now. Subscriptions give out what they
// have and then end.
//
// A Client does not reconnect. It could not do so unnoticed: locks and messages are lost with a connection, and the
// program has to decide what that means to it. A [Link] makes the next connection and takes up on it what can go on, and it does not
// go unnoticed either: a subscription has a [GapError] between the messages before and those after, [Lock.Lost] tells of the locks that
// are lost, and all other commands are the program's to repeat.
//
// What is not bound to the connection is held on, over a restart of the daemon, too, but nobody tells any more what becomes of it:
// [Lock.Attach] has the lock go on with another client, and [Client.Adopt] has a hold of which no more is known than its token. A
// lease goes on to run down: [Lock.KeepAlive] renews it, and if it cannot in time, Lost tells.
//
// # Goroutines
//
// A Client has one goroutine, which reads; another exists while the socket is full, and while a lead is given up. Close waits for them. A Link
// has one more, and another while a lock is given back. All methods of Client, Link, Subscription and Lock may be called from any
// goroutine. A command is written by the goroutine that calls, in one write together with those that others added in the
// meantime. At most 1024 commands of a Client are without a reply; further calls wait. Nothing that a program does not
// read keeps its Client from reading.
package ipc
