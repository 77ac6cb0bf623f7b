// Package conformance holds ipcd against Redis: against the server, whose replies to the same bytes must be the same
// bytes, and with the clients that people use with it, unmodified. It is a module of its own, to keep their code out of
// ipcd's go.mod.
//
// Scripts in testdata are sent to a redis-server and to ipcd. What the two answer is compared frame by frame. Where ipcd
// means to differ there is a row in the table of deviations (deviations_test.go), with the reason; a row that no script
// needs fails the test.
//
// Clients for other languages than Go are programs in testdata/clients, each of which uses one library as its users do, and says so
// when all is as it should be. They are run against a redis-server, too, in all that both have.
package conformance
