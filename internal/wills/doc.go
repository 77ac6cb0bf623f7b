// Package wills is the service of wills: a will is a message that the daemon publishes when whom it is of has ended, a process or one of its
// connections, and has not taken it back.
//
// # What it promises
//
//   - A will is in the journal before who asks for it is answered, so it outlives the daemon. It is published once: that it is no will
//     any more, and what it makes of the value of its topic, is in the journal as one before anybody is told.
//   - The message is from whom the will was of, and says how that ended, in the words of locks, as well as the kernel tells within
//     some milliseconds (package process).
//   - A will of a process that ended while there was no daemon is published before the next daemon serves anybody. That of a connection is
//     its process's then, for some time: which may come back and say it again.
//   - A will that clears (CLEAR) takes away the value of its own process. If there is another's by then, who took its place, that stays,
//     and nobody is told.
//   - What one has left behind who had very many wills is published bit by bit, in the share of the user whose they are.
//   - A will is charged to the user of whom it is, and so are its bytes, as those of values; as a value, too, if it is to be one. So its
//     publishing needs no room that it has not had.
//
// # Where things are
//
// service.go is what others call, cmd_wills.go are the handlers, will.go is what is known of a will and of whom it is of, and ends.go what
// comes when that has ended. Where a will is published is an interface, [Messages].
package wills
