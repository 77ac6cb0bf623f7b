// Package journal is the loop's side of what outlives the daemon: it has what changes written down, and tries again what could not be.
//
// It knows subjects by their kinds, and not what they mean. Each kind is that of a service, the [Source], which says what is true of a
// subject now. So what is written is never what was true when somebody asked for it, but what is when it is written: a record that
// could not be written is written later as it is then, or not at all if it is over.
//
// # What it promises
//
//   - What a service has noted ([Journal.Changed]) is written as a whole or not at all ([Journal.Record]), however the daemon ends. Whoever
//     records before he tells cannot have told what is lost.
//   - What there was no room for is known, and is written when there is: nothing that is over then comes back.
//   - Nothing here blocks: a [Store] is memory that is mapped.
//
// In which words a record is written is known to package record, and in which files to package state.
package journal
