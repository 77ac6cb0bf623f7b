// Package systemd is how a daemon lives under systemd: it is given its sockets, says when it is ready, proves that it
// is alive, logs to the journal, and learns which unit its peers belong to. Outside of systemd the same calls do
// nothing, or the plain thing, so a daemon needs one code path only.
//
// # Sockets
//
// [Files] returns the descriptors that systemd passed, with the names that the units gave them (FileDescriptorName=,
// or FDNAME= for those the daemon stored itself). Their order means nothing. Several listeners may share a name. A
// stored descriptor may be anything, a client's connected socket for instance, and the standard library would
// willingly make a listener of that, which then fails at the first Accept. So look at the name, and ask
// [IsUnixListener] before you listen. A start-up that half worked is worse than one that failed: whatever is wrong
// with the descriptors is an error.
//
// # Notifications
//
// [Notify] is for the few messages of a daemon's life: [Ready], [Stopping], [Reloading], [Status]. A [Notifier] keeps
// the socket, and never waits: it is for the watchdog's [Alive] in an event loop. The loop should send it, and not a
// goroutine beside it, which would swear that a stuck loop is alive. [WatchdogInterval] says how often.
//
// # Journal
//
// [NewLogHandler] makes a slog.Handler. It writes records with all attributes as fields to the journal, if that is where
// standard error leads to, otherwise as text to standard error. Its guarantees are for a daemon that has better things
// to do than logging: a call never waits for whoever reads the log and never fails. The price is that records can be
// lost: if the journal does not keep up, if it is gone, or if the process is killed before the queue is written. How
// many were dropped for want of room or of a reader is logged as soon as something can be. Close writes what is
// queued, but does not wait for ever.
//
// # Units
//
// [UnitFromCgroup] names the unit of a process. It is as trustworthy as the user that runs the unit's manager: see
// [IsUserUnit].
package systemd
