// Package verb is what a verb of ipcctl is: a row of a [Table] with its options. The parser, the help and the completions are made
// from it here, and the man page in internal/gen, so that they cannot disagree.
//
// The grammar is that of flock(1) where a verb runs CMD: options may stand on both sides of the lock's name, the first other word
// or a "--" right after them begins CMD, and all that follows is CMD's. See docs/adr/0005-own-option-table.md for why it is not a
// framework that parses them.
//
// A [Call] is one run of ipcctl: what was typed, and the way to the daemon. Which verbs there are, and what they do, is known to
// package cli alone.
package verb
