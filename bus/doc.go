// Package bus is the publish/subscribe engine of ipcd: it knows who subscribed to what, and says for each message to whom
// it goes.
//
// It is pure. There is no socket in it, no goroutine, no clock, no lock and no file; a method computes and returns, and
// the caller acts. A [Bus] never sees a payload and never delivers: [Bus.Publish] returns the routes that a message
// takes, and the caller puts the message into its sessions' outboxes, with whatever rules it has for receivers who are
// slow. The subscribers are values of the caller's own type, and all that the bus does with them is compare them. So one
// script, one random test against a simple model and the daemon drive the same code.
//
// # Names
//
// A message is published under a name, which is any bytes. If it is a topic, filters may match it, too.
//
// A topic is UTF-8, 1 to 255 bytes, without control characters (C0, DEL, C1). Slashes divide it into levels. Levels may be
// empty and count: "/run/x" has three, and "a" and "a/" are two topics. Names are compared byte by byte, with no regard to
// case or Unicode normalization. See [CheckTopic].
//
// There are three ways to subscribe:
//
//   - A [Channel] is one name, literally.
//   - A [Pattern] is a glob as Redis has it, over the bytes of the whole name: "*" crosses levels. See [Glob]. Or it is a filter in the
//     guise of a pattern, for who cannot ask for anything else: see [FilterPattern].
//   - A [Filter] follows MQTT 5, section 4.7: "+" stands for one level, "#" at the end for any number of further levels,
//     also none, so that "a/#" includes "a". See [Match].
//
// Names under "ipcd/" are the daemon's own. Who asks for everything does not mean them: a filter that begins with a
// wildcard matches neither these names nor the level "ipcd" itself, as in MQTT with "$" (which means nothing here), and a
// pattern matches them only if it begins with "ipcd/", literally.
//
// A topic may have a value, which is the caller's: see [Retained]. What is published may have an answer: see [Requests], which knows
// who answers what. And it may go to one of several: see [Groups]. These two are tables of their own, in which filters find topics as they do
// among the routes of messages.
//
// # What is guaranteed
//
//   - Each accepted message has a number, one more than that of the message before it, over all topics. So there is one
//     order of all messages, and it is the order of the calls.
//   - A message goes to exactly those who are subscribed when it is published. Subscribe and Unsubscribe have their effect
//     between two messages, never in the middle of one. Whoever finds its routes bit by bit, as [Bus.Search] does, finds those
//     that were there then and still are, and who delivers it bit by bit those who were subscribed then by the bus's age at that
//     time: see [Route.SubsBetween].
//   - One subscription, one copy: a subscriber with several that match is in each of those routes, as in Redis.
//     Subscribing twice with the same kind and text is one subscription.
//   - The messages that take a route have numbers of their own, from 1 on, if the caller has each counted: see [Route.Number].
//   - The order of routes in one message is defined: the channel, the patterns, the filter that is the name itself, the
//     filters with wildcards; patterns and filters by age. Within a route it is the order of subscribing. The same calls
//     give the same results, slot numbers included.
//   - A call that returns an error has changed nothing.
//   - What is gone is forgotten: a subscriber, a route, their places in all indexes. After the last subscription the bus
//     is as small as a new one that has published its last topic.
//
// Of retained values:
//
//   - A topic has one value, the last that was set. A filter finds the topics that have one and that it matches, each once.
//   - Who looks for them bit by bit, as [Lookup] does, finds each topic once that had a value all the time, with the value that it has
//     when its turn comes, whatever comes and goes meanwhile.
//   - A topic that has lost its value leaves nothing.
//
// Of requests:
//
//   - A request that is accepted is over once, and its end says why. Whoever was sent it answers it once, is gone, or is told to
//     stop, before it is over and never after.
//   - Only who was sent a request can answer it, and as long as it is not over. Who was not is told what he is told of one that never
//     was.
//   - It goes to who has the fewest to answer, and of these to who was asked longest ago: of a group, of those in none, and between
//     these. Who takes none at the moment is passed over; if nobody does, or too many were passed over, it is refused, and names one of
//     them.
//   - A request that nobody serves is refused at once, or waits as long as it says, and then goes to who comes: those for one topic in
//     their order.
//   - It is asked a second time only if it says that it may be, only of another who serves the same, and only if nothing of an answer
//     has come.
//
// Of groups:
//
//   - A message of a group is given to one member, who can take it at once; of several, to who was given the least that it was not sent
//     yet, and of these to who had none for the longest time. If nobody can take it, it waits, and those that wait are given in
//     their order. Who can take something again comes back to one of his groups with each step, as long as he can.
//   - What was put into a group is sent to a member, lost, or there still; and the next member who is given something is told how much is
//     lost. If the group ends before, who ended it is told.
//   - What a member who is dropped was given and was not sent goes to the others, before all that waits, in its order.
//
// # What is not
//
//   - Nothing is delivered, kept for later, or repeated here; nobody is asked for permission.
//   - A bus is not safe for concurrent use. Slices that it returns are to be read only, and are good until the next change
//     or Publish.
//   - Slots are as many as there were routes at the worst moment since the bus was empty, not as there are now.
//
// # The caller's duties
//
// Nothing is bounded here but the length of topics and filters. Whoever lets strangers in bounds, by subscriber or by user:
//
//   - the number of subscriptions: each takes some 100 bytes, and as much again if nobody else has its text;
//   - the length of names and of patterns, of which only topics and filters have a limit: [Weight] counts a long one as several;
//   - the number of patterns whose first byte is already special ("*x"), because a message that the cache does not know
//     is tried with each. Any other pattern costs only the messages that begin as it does, and each filter only those
//     whose levels lead to it;
//   - the requests that are open, of which each takes some 700 bytes and what its record has, and what they are sent in all: an answer from
//     all goes to [MostAsked] at most, and one for a topic with more services than that is refused;
//   - what members of groups are given before they have been sent it. What waits in a group is bounded here.
//
// # How it is done
//
// Channels and filters without wildcards are found by one look into a map each. Filters with wildcards are in a tree of
// levels, patterns in a map by the bytes before their first special one. What these two found is remembered for about a
// thousand topics, until a route with wildcards comes or goes; other subscribers coming and going do not matter. So the
// cost of a message hardly depends on the number of subscriptions, and Publish, once warm, allocates nothing.
//
// Leaving takes constant time, also for one of ten thousand subscribers of one filter: a hole is left, and the next
// reader of the list closes all holes at once.
//
// [Bus.Dump] prints the whole state, and [Bus.Verify] checks every invariant after every call.
package bus
