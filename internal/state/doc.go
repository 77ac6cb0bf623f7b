// Package state keeps what must outlive the daemon: in the state directory, /var/lib/ipcd, what must outlive a reboot as well, one
// number and small tables; and in a mapped file what must not.
//
// # The token mark
//
// Fencing tokens never repeat and never go down, whatever happens to the daemon, the machine and its clock, as long as the mark
// can be written and is not lost. To avoid a write per token, the daemon reserves a batch: it raises the [Mark] to the last token of the batch before it gives out the first.
// After a crash it goes on above the mark, so a part of a batch may be skipped, and nothing is given out twice.
//
// # Tables
//
// What operators hold and what was marked as done are few records that seldom change, and each change is waited for. A [Table]
// is therefore written as a whole, into a new file that takes the place of the old one.
//
// # The journal
//
// What changes often, and means nothing after a reboot, goes into a [Journal]: rows in two mapped files, each of which is there
// for the next daemon as soon as it is applied, without a system call, and without waiting for a disk if the files have none.
//
// # Faults
//
// What cannot be read or written is no reason not to serve. [OpenMark], [OpenTable] and [OpenJournal] give what can be read, and
// what is written later looks again whether it can be: there is nothing to reopen, but for a journal that could not be opened at
// all. Only what would do harm is: another daemon in the directory, a newer format, or a journal that is there and cannot be read,
// which may hold the locks of living processes. A link, a FIFO or a directory in a file's place is neither followed nor waited for, and set aside.
//
// # Guarantees
//
//   - When Raise or Save returns nil, the mark or the table is on the disk, and every later OpenMark finds it or a higher one,
//     every later OpenTable this one or a newer. When it returns an error, or never returns, the old one is found or the new
//     one, and nothing else.
//   - A file that is not exactly what was written is noticed, and never taken for a mark or a table. It is kept under another
//     name, and the caller is told, because only the clock then says which tokens may have been given out, and nobody what
//     was held. What could not be read is never written over.
//   - When Apply returns nil, whoever opens the journal after this process has ended, in whatever way, finds it so. If the process
//     is killed in it, all rows are there or none; only where there is no room may what removes be there alone. What was there
//     before an error is there after it.
//   - Damage to one of a journal's files, up to the loss of it, loses nothing. What is damaged in both is told, and loses no row
//     but that.
//   - One daemon at a time: a directory that is in use is refused.
//
// What it cannot see is a file put back from a backup. A clock that is not behind the backup makes up for that, since
// tokens are at least the time in microseconds.
package state
