// Package state keeps in the state directory, /var/lib/ipcd, what must outlive a reboot. At present that is one number.
//
// # The token mark
//
// Fencing tokens never repeat and never go down, whatever happens to the daemon, the machine and its clock. To avoid a write
// per token, the daemon reserves a batch: it raises the [Mark] to the last token of the batch before it gives out the first.
// After a crash it goes on above the mark, so a part of a batch may be skipped, and nothing is given out twice.
//
// # Guarantees
//
//   - When Raise returns nil, the mark is on the disk, and every later OpenMark finds it or a higher one. When it returns an
//     error, or never returns, a later OpenMark finds the old value or the new one, and nothing else.
//   - A file that is not exactly what was written is noticed, and never taken for a mark. It is kept under another name, and
//     the caller is told, because only the clock then says which tokens may have been given out.
//   - One daemon at a time: a directory that is in use is refused.
//
// What it cannot see is a file put back from a backup. A clock that is not behind the backup makes up for that, since
// tokens are at least the time in microseconds.
package state
