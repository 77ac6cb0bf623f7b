// Package conn is what a connection is, whatever its commands mean: bytes that come, and bytes that go. It reads, cuts what was read
// into commands, keeps what it has to send, and ends. What a command does, and who gets which message, is known to its owner.
//
// # What it promises
//
//   - Nothing here blocks, and nothing that a peer does or leaves makes another one wait: what one connection does in a turn is bounded
//     by time, what it holds by its limits and by its user's account.
//   - Commands are executed in the order in which they came, one after the other. None is executed while the connection awaits an
//     answer (Await), is set aside (Park), is out of time (Slice), or has more to be read by its peer than it should.
//   - What is sent comes in the order in which it was given here: replies (Send) and messages (Follow, Enqueue) alike. Nothing of it is
//     doubled or torn, however the socket takes it; a connection that has been sent part of a value is sent the rest.
//   - Sending costs no system call: at the turn's end all that there is for a connection goes out with one. What many are sent is
//     encoded once (Stream), and copied only for those whose socket is full, if it is little: what is much they share.
//   - A peer that does not read fills its own backlog, up to the limits. Then it loses the oldest messages that it can be told to have
//     missed, and is told so where they would have been; if there is none, it is ended.
//   - A subscription may have another rule for what of it waits (SetRule). Then it loses the oldest of its own messages, and not of
//     others; or each takes the place of that of its topic; or the connection ends. What is left is in the order in which it was given.
//   - A descriptor that a peer has sent belongs to the command that it came with or after. What no command takes is closed.
//   - All that a connection has is charged to its user, and given back when it is buried, at the end of the turn in which it died.
//
// # What it does not know
//
// Locks, topics, policies, records. Of messages it knows that they are RESP values, and what the owner says of one of them: how many
// are missing if it is not sent, and with what words that is told ([Pushes]). Of the protocol, that there are two.
//
// # How it fits together
//
// A [Set] has the connections of one loop and what they share: the buffer that all read into, the buffers of streams, who is to be
// written to, who stands in the queue of his user. The loop calls it in a turn: BeginTurn, then what there is of events, EndEvents, then
// WrapUp after whatever was done; BeginRest, and Serve for those who wait for their user's share of a turn. Over tells everybody when
// a part of the turn has lasted long enough. A connection calls its [Owner], which has it
// embedded. What carries the bytes is a [Kernel]: sockets in the daemon; in tests package conntest, so that an owner can be driven, and
// everything here, without any.
package conn
