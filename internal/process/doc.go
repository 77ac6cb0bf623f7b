// Package process watches processes for services: those that somebody has something bound to, which is to end with them.
//
// # What it promises
//
//   - A process is watched through a descriptor of its own, so none that gets its number later is taken for it. All services share
//     one descriptor for each process, which is closed when nobody needs it.
//   - Each service that something is bound to is told when the process has ended, and again when its parent has reaped it ([Watcher]);
//     how it ended is known as well as the kernel tells ([Process.How]).
//   - A process that was known to a daemon before is found again by its number and time of start. Only what says for certain that it is
//     gone counts as its end (known.go).
//   - To others a cgroup is a process: it has an identity, and an end, which is its removal (groups.go).
//
// What ends with a process, and when, is known to the services.
package process
