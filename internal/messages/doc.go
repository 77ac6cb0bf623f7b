// Package messages is the service of messages: it has the bus (package bus) publish what clients send, and gives it to those who are
// subscribed.
//
// # What it promises
//
//   - All sessions see one order of messages. A message that is published later overtakes none on its way to a session that gets both
//     (delivery.go).
//   - Who publishes is answered when the message is delivered to all: it is in their outboxes, or counted as dropped.
//   - Nobody waits for a subscriber who does not read. He misses messages and is told how many (BUS.SUB, enveloped patterns), or is
//     disconnected, as Redis does (SUBSCRIBE, PSUBSCRIBE).
//   - A message is encoded once for all subscribers of a route, however many they are (message.go).
//   - What takes more routes than a turn has time for stands in line, and its publisher's later commands wait. Others' messages do not,
//     unless they would overtake it.
//   - A retained value is in the journal before anybody is told of it, and who subscribes is sent it before any message that is published
//     later (retained.go).
//   - Of what a group is for, each message is given to one member, in its place among all that the member is sent, unless it had to wait
//     for somebody who can take it. What was not written to a member's socket when it ends is given to the others (groups.go).
//   - What a user has here, subscriptions and values, is charged to him, and given back when it ends.
//
// # What it offers to others
//
// The daemon's own events are published by [Service.PublishEvent]: it makes the payload only if somebody may get it. As an event cannot
// wait, who causes many of them does: see [Service.EventsInLine] and [Service.LineIsLong]. What does not know messages takes these
// through an interface of its own.
//
// # Where things are
//
// service.go is what others call, cmd_*.go are the handlers. A message is given its form in message.go, envelope.go and loss.go: what a
// subscriber misses is read from what was written for him, so these forms stand together.
package messages
