// Command ipcd is a message bus and named locks for the processes of one machine, over Unix sockets. See ipcd(8).
package main

import (
	"os"

	"github.com/ipcd/ipcd/internal/daemon"
)

func main() { os.Exit(daemon.Main()) }
