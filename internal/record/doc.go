// Package record is the schema of what outlives the daemon: what is written down, in which words, and what of it is believed when
// it is read again.
//
// # Rows of the journal
//
// A [Record] says what is true of one [Subject] from now on: a [Hold] of an owner, the [End] that a lock's next holder is to be told
// of, the [Mark] of the tokens, that the journal is [Complete]; or that there is nothing any more. The journal (internal/state) keeps of each
// subject the last record. It knows of none of them more than a key and a text.
//
// A text begins with the kind of the record and the version of that kind, and goes on with fields by their names:
//
//	hold 1 lock="backup" limit=1 pid=4711 start=815 mode=exclusive bind=process units=1 id=101 token=17…
//
// The names and words are those of the tables in this package, one table for both writing and reading. They are not the names of Go's
// fields, nor the numbers of Go's constants: those may change without anybody losing a lock at the next upgrade. A text in quotes is
// written as in Go, so that bytes which are not UTF-8 are the same afterwards. What is zero is not written. What is not in the
// tables is refused, never guessed: a kind or a version that is not known is a [NewerError].
//
// Whatever is changed in a table, be it a field more, makes a new version of that kind, and the old one is still read. What the
// format was before there were kinds is in before.go.
//
// To add a kind: a file with its type and its table of fields, and a line in kinds.
//
// # Files
//
// What operators hold ([OperatorHold]) and what was done ([Done]) outlives the machine as well, in files of lines that are JSON,
// with the names that their types say. A line of the first becomes a [Hold], and from then on nobody can tell where it came from. It counts
// after a reboot, and for what the journal does not have unless that is complete ([WithOperatorHolds]).
//
// # What is believed
//
// [Read] is the one place that decides it. Each record is checked by itself, and then against the others: of holds that exclude
// each other the latest is true. What cannot be true is told, and takes nothing else along.
package record
