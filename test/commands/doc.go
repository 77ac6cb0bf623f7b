// Package commands sends whole commands to a real daemon: every row of the command table, every option, in all the shapes that
// its grammar allows and in many that it does not.
//
// The words of a command are made from the row's Args, so a new row or option is tried without an edit here. The parser of that
// grammar is [parse]; what a word in lower case stands for is in the table of values, and any value for a word that is not in it.
// TestEveryCommand sends them from several processes at once, of which some are killed, with descriptors that nobody asked for,
// half-closes and hang-ups; the daemon, which verifies itself, must answer each with what is documented. A row that was never
// executed fails the test: nobody has tried then what is behind its first checks.
//
// TestOracle knows what each answer must be. It has a naive model of locks, and compares what the daemon shows after every step.
package commands
