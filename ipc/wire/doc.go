// Package wire is the language of ipcd's socket: how values and commands are written (RESP), and the tables of the commands
// and of the codes of errors. Both ends of the wire share it. Programs that talk to ipcd want package ipc, its client, and meet
// this one where a reply is a [Value] or where a [Code] decides.
//
// The daemon's end cuts what it reads into commands with a [RequestParser], finds each in [Commands] and answers by the Append
// functions. The client's end reads a [Value] after the other from a [Decoder]. Neither does more than bytes ask for: commands
// are parsed in place, without allocation unless there are quotes to take out.
//
// The tables are only ever added to. What is documented, completed, dispatched and allowed follows from their rows:
// docs/protocol.md, COMMAND DOCS and the completion of "ipcctl raw" are made from them.
package wire
