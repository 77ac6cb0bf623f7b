// Package cli is ipcctl.
//
// One table of verbs (verbs.go, and a file for each row) is all there is: the parser, the help, the man page and the
// completions are made from it. It is not built on a command-line framework for two reasons. ipcctl lock understands
// what scripts written for flock(1) say, where options end at the first word after the lock's name; and ipcctl is
// started by shell scripts, often, so it must cost little more than a process does: nothing is set up that the verb
// does not need, and packages that cost time at every start, used or not (net, os/exec, encoding/json, regexp), are not linked.
//
// Below it are the parts that know nothing of what ipcctl does: what a verb is (package verb), what it writes to (term), what it
// does with processes (process), and how it fails (exit).
//
// What ipcctl guarantees to scripts:
//
//   - Every failure has an exit status of its own (package exit), which keeps its meaning for ever; none exits 0.
//   - Where a verb runs CMD, the status is CMD's unless ipcctl failed before CMD ran, and then CMD never did.
//   - "lock" becomes CMD: no process stays between the caller and CMD, so signals, the terminal, job control and the
//     exit status are CMD's own, and the lock ends when CMD does.
//   - On a terminal, output is laid out for people, and nothing that came from elsewhere can control the terminal.
//     Elsewhere it is tab-separated and payloads pass byte for byte; with --json there is one object a line, whose
//     fields are only ever added to.
//
// What it does not guarantee: the wording of messages, the layout of tables, the order of fields in JSON. Nor that CMD
// ignores every signal that ipcctl's parent ignored: the Go runtime keeps that for SIGHUP and SIGINT, for nohup and for
// background jobs, and has taken the other signals over before any code of ours runs.
package cli
