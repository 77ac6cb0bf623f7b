package server

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also its own other processes: see helper.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "helper" {
		helper(os.Args[2], os.Args[3:])
	}
	// What the runtime opens once and keeps is there before the first test counts descriptors.
	if l, err := net.Listen("unix", ""); err == nil {
		_ = l.Close()
	}
	goleak.VerifyTestMain(m)
}

// helper is the main function of a process that a test started:
//
//	client ADDRESS STATUS    connects, proves that it did, copies its standard input to the socket and the socket to its standard output,
//	                         and exits with STATUS at the end of its standard input
//	idle STATUS              exits with STATUS at the end of its standard input
//	send ADDRESS PID REQUEST connects, sends REQUEST with the pidfd of PID beside it, and copies the answer
//	nanny ARG…               runs the helper "ARG…" with the same standard files, and has the kernel reap it: whoever
//	                         watches that process sees it exit and gone at once. Prints its number, a line, first.
func helper(role string, args []string) {
	switch role {
	case "client":
		conn := must(net.Dial("unix", args[0])).(*net.UnixConn)
		prove(conn)
		go func() {
			_, _ = io.Copy(os.Stdout, conn)
		}()
		_, _ = io.Copy(conn, os.Stdin)
		os.Exit(must(strconv.Atoi(args[1])))
	case "idle":
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(must(strconv.Atoi(args[0])))
	case "send":
		conn := must(net.Dial("unix", args[0])).(*net.UnixConn)
		pidfd := must(unix.PidfdOpen(must(strconv.Atoi(args[1])), 0))
		_, _, err := conn.WriteMsgUnix([]byte(args[2]), unix.UnixRights(pidfd), nil)
		must(0, err)
		_, _ = io.Copy(os.Stdout, conn)
	case "nanny":
		signal.Ignore(syscall.SIGCHLD)
		p := must(os.StartProcess("/proc/self/exe", append([]string{"server.test", "helper"}, args...), &os.ProcAttr{
			Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
			Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
		}))
		fmt.Println(p.Pid)
		select {}
	}
	os.Exit(0)
}

// prove sends a pidfd of this process.
func prove(conn *net.UnixConn) {
	pidfd := must(unix.PidfdOpen(os.Getpid(), 0))
	_, _, err := conn.WriteMsgUnix([]byte("IPCD.PROVE\r\n"), unix.UnixRights(pidfd), nil)
	_ = unix.Close(pidfd)
	if err != nil {
		return // it was not let in
	}
	const ok = "+OK\r\n"
	got := make([]byte, len(ok))
	if must(io.ReadFull(conn, got)); string(got) != ok {
		_, _ = os.Stdout.Write(got) // likewise
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
