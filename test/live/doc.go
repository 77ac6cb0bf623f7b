// Package live holds the bus of a real daemon to its promise, as publishers and subscribers see it through their sockets: of what was
// published in the lifetime of a subscription it is given each message once, in order, behind the values that its topics had when it
// began. Nothing is missing that it is not told of.
//
// Each topic has one publisher, who counts, and says with each message what the value of the topic was before it. So who reads can tell
// from the messages alone whether something is missing, twice or late. (The engine alone is held to the same by TestRaces and
// TestSmallWorlds of package bus, in all orders.)
package live
