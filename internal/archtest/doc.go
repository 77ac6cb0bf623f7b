// Package archtest holds the rules of this repository's shape, as tests that say why each rule is there.
//
//   - Arrows run one way: cmd → daemon → server → engines, and cmd/ipcctl → cli → ipc. Every package has a row in the
//     table of layers_test.go that names what else of ours, and of other people's, it may import.
//   - The engines (bus, lockmgr, internal/policy) are pure: no I/O, no lock, no goroutine, no clock. One script, one
//     model and one replay can drive the very code that the daemon runs only as long as that stays true.
//   - The loop changes the locks in steps, which are recorded before they are told.
//   - ipcctl starts in about a millisecond: what it must not link is listed in linked_test.go, transitively.
//   - Tests wait for events: they neither let time pass nor look whether something happens within some time (waits_test.go, with a table
//     of exceptions). They skip only by way of internal/testenv.
//   - ipcctl shows text that others chose only escaped.
//   - A file that grows past 500 lines holds more than one idea.
//
// To allow something new, change the table: the diff is then a decision that a reviewer sees. A package that does not
// exist is no error, so a row may be written before its package.
package archtest
