// A program that lives for a millisecond has no use for a runtime that reads /proc/self/mountinfo and the limits of its
// cgroup to find out how many processors it may use.

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Ipcctl talks to ipcd from the shell: messages, locks, and the daemon itself.
package main

import (
	"os"

	"github.com/ipcd/ipcd/internal/cli"
)

func main() { os.Exit(cli.Main()) }
