// A program that lives for a millisecond has no use for a runtime that keeps an eye on the limits of its cgroup. (It reads
// /proc/self/mountinfo all the same, whatever is said here.)

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Ipcctl talks to ipcd from the shell: messages, locks, and the daemon itself.
package main

import (
	"os"

	"github.com/ipcd/ipcd/internal/cli"
)

func main() { os.Exit(cli.Main()) }
