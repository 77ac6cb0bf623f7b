// Package history holds the locks of a real daemon to their rules, as real processes see them that are stopped, continued and
// killed at random.
//
// Each worker writes down when it asked for a lock, when it got it, with which token, and when it gave it back. Those
// histories must be linearizable: there is an order of all operations, each at a moment between its beginning and its end,
// that a single simple lock would have allowed (porcupine finds it, lock by lock). Who comes first in a queue is no matter of
// linearizability; it is read off the events under ipcd/lock/, which the daemon numbers in the order in which it decided.
package history
