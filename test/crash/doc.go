// Package crash holds the daemon to its promise under faults: no lock is lost while its process lives, and none is given twice,
// whatever becomes of the daemon.
//
// A site is a daemon with real processes that take locks by ipcctl. What they do they say into one pipe, the ledger, each line
// with one system call: who has a lock says "in" when it has it and "out" before it gives it back, and who is about to be killed
// is written down before. So the order of the lines is an order of what happened, and the [history] of a lock that two have at once
// shows it, however the daemon explains it. After each restart all who are in must be shown as holders still, with their tokens.
//
// What was announced to last as long as a process, and wills, are held to likewise (TestWillsUnderLoad).
//
// Meanwhile the daemon is killed, stopped and started, with faults: too few descriptors, no room, a damaged or missing file,
// system calls that fail. The tests named after such a fault bring it about by itself; TestRandomFaults does all of it at random.
package crash
