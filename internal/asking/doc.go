// Package asking is the service of requests: it has the engine (bus.Requests) say who is to answer one, sends it there, and gives the
// answer to who has asked.
//
// # What it promises
//
//   - BUS.REQ is one command, and its reply is the answer. The connection's later commands wait meanwhile, unless it says ASYNC.
//   - Who asks is told at once if nobody is there who could answer, or if who was to answer is gone; but not if another is asked in its place,
//     and of whom that was nothing is kept.
//   - Who answers is told at once if nobody waits for the answer any more.
//   - A responder whose outbox is full is not sent a request: another is, or who asks is told who is behind.
//   - Who wants an answer in parts is sent each as it comes, and is sent all: if he does not read, the responder is told to wait.
//   - A request with a REQID is made once, and whoever repeats it is answered alike.
//   - What a user has here, requests and services and what is kept of answers, is charged to him, and given back when it ends.
//
// # Where things are
//
// service.go is what others call and where effects are carried out, cmd_*.go are the handlers, asking.go is what is known of a request
// that is open, and again.go is what becomes of one with a REQID when its connection ends.
package asking
