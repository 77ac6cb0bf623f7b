// Package testdaemon runs ipcd for tests as users run it: a process of its own on a private socket.
//
// [Start] builds ipcd once for each test binary (under the race detector if the test is), starts it, and returns when it
// has said that it is ready. When the test ends, the daemon is told to stop by SIGTERM, and the test fails unless it then
// ends in time, with status 0, and never panicked, reported a data race or complained about itself.
//
// [Peer] is a connection that sends any bytes and gives back replies as the bytes they are: what a test needs that is
// about the wire itself, or that behaves as no client library would.
package testdaemon
