// Package exit is how ipcctl fails: with a status that tells scripts which kind of failure it was, and with a message that tells
// people what could not be done and why.
//
// The statuses are a table, [Statuses], to which rows are only ever added. Those for what the daemon answers are picked by the
// code table of package wire. [Cannot] makes a [Failure] of any error; one that is a Failure already stays as it is, so the place
// that knows most about a failure is the one that words it.
package exit
