// Package daemon is the composition root of ipcd: it reads the flags and the configuration, makes or takes the sockets,
// wires the server to the service manager, the journal, the state directory and the signals, and runs it.
//
// Nothing here is on the path of a request. What waits for a disk, a file or a signal runs in goroutines of this
// package and posts its result to the server's loop.
//
// The order of a start is: flags, configuration, state directory, sockets, loop, READY. A wrong configuration is replaced by the
// last good one, if there is any, and by the built-in settings: see configure. READY is sent from the loop's
// first turn, so a client that was told to start after the daemon is answered at once. A stop (SIGTERM, SIGINT) is the
// server's: see package server. A reload (SIGHUP, IPCD.RELOAD, a changed file) replaces the configuration as a whole or
// not at all.
package daemon
