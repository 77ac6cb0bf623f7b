package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// programs are the CLI and what it competes with: a whole process each, from fork to wait.
func (b *bench) programs() []contender {
	all := []contender{b.program("ipcctl lock x true", target{}, true, b.ipcctl, "lock", "x", "true")}
	if flock, err := exec.LookPath("flock"); err == nil {
		file := filepath.Join(b.dir, "flock")
		all = append(all, b.program("flock f true", target{most: 1.3}, false, flock, file, "true"))
	}
	if path, err := exec.LookPath("true"); err == nil {
		all = append(all, b.program("true", target{}, false, path))
	}
	return all
}

// inScripts are the same for a script that takes a lock and gives it back.
func (b *bench) inScripts() []contender {
	all := []contender{b.program("ipcctl acquire", target{}, true, "/bin/sh", "-c",
		b.ipcctl+" acquire -p $$ x && "+b.ipcctl+" release x")}
	if flock, err := exec.LookPath("flock"); err == nil {
		file := filepath.Join(b.dir, "flock")
		all = append(all, b.program("flock 9", target{}, false, "/bin/sh", "-c", "exec 9>"+file+" && "+flock+" 9 && "+flock+" -u 9"))
	}
	return all
}

func (b *bench) program(name string, aim target, daemon bool, argv ...string) contender {
	return contender{name: name, target: aim, open: func(p place) (*subject, error) {
		env := []string{"PATH=/usr/bin:/bin"}
		stop := func() {}
		if daemon {
			s, err := b.startServer(ipcdServer, p)
			if err != nil {
				return nil, err
			}
			stop = s.stop
			env = append(env, "IPCD_SOCKET="+s.path)
		}
		if err := b.cpus.driver(p).pin(); err != nil {
			return nil, err
		}
		return &subject{close: stop, cell: func(d time.Duration) sample {
			var used time.Duration
			x := latencies(func() time.Duration {
				start := time.Now()
				used += runProgram(argv, env)
				return time.Since(start)
			})(d)
			x.cpu = used
			return x
		}}, nil
	}}
}

// runProgram runs a program to its end and returns the CPU time it took. What it has to say goes to our stderr.
func runProgram(argv, env []string) time.Duration {
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		fail("cannot start %s: %w", argv[0], err)
	}
	var status unix.WaitStatus
	var usage unix.Rusage
	for {
		if _, err = unix.Wait4(pid, &status, 0, &usage); err != unix.EINTR {
			break
		}
	}
	if err != nil || status.ExitStatus() != 0 {
		fail("%s ends with status %d, error %v", strings.Join(argv, " "), status.ExitStatus(), err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// flockHandOff is the kernel's own hand-off, for scale: from unlock here to lock in another process.
func (b *bench) flockHandOff(q float64, aim target) contender {
	return contender{name: "flock(2)", target: aim, open: func(p place) (*subject, error) {
		path := filepath.Join(b.dir, "hand-off")
		file, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		if err := b.cpus.server(p).pin(); err != nil {
			return nil, err
		}
		cmd := exec.Command("/proc/self/exe", "flock-partner", path)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		begin, out, err := startWithPipes(cmd)
		if err != nil {
			return nil, err
		}
		if err := b.cpus.driver(p).pin(); err != nil {
			return nil, err
		}
		pid, fd := cmd.Process.Pid, int(file.Fd())
		var stamp [8]byte
		op := func() time.Duration {
			must(unix.Flock(fd, unix.LOCK_EX))
			mustAll(unix.Write(begin, stamp[:1]))
			waitForSyscall(pid, unix.SYS_FLOCK)
			start := monotonic()
			must(unix.Flock(fd, unix.LOCK_UN))
			mustAll(unix.Read(out, stamp[:]))
			return time.Duration(int64(binary.NativeEndian.Uint64(stamp[:])) - start)
		}
		return &subject{
			cell: quantile(q, op),
			cpu:  func() time.Duration { return 0 },
			close: func() {
				_ = unix.Close(begin)
				_ = cmd.Wait()
				_ = unix.Close(out)
				_ = file.Close()
			},
		}, nil
	}}
}

// startWithPipes starts a command with pipes to its input and from its output that block in the kernel, without Go's
// poller between.
func startWithPipes(cmd *exec.Cmd) (in, out int, err error) {
	var pipes [2][2]int
	for i := range pipes {
		if err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC); err != nil {
			return -1, -1, err
		}
	}
	stdin, stdout := os.NewFile(uintptr(pipes[0][0]), "stdin"), os.NewFile(uintptr(pipes[1][1]), "stdout")
	defer func() {
		_ = stdin.Close()
		_ = stdout.Close()
	}()
	cmd.Stdin, cmd.Stdout = stdin, stdout
	return pipes[0][1], pipes[1][0], cmd.Start()
}

func must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// mustAll is must for a read or write that cannot be partial.
func mustAll(_ int, err error) { must(err) }

// flockPartner waits for the lock each time it is told to, and answers with the time at which it had it.
func flockPartner(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadByte(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			return err
		}
		stamp := binary.NativeEndian.AppendUint64(nil, uint64(monotonic()))
		if err := unix.Flock(int(file.Fd()), unix.LOCK_UN); err != nil {
			return err
		}
		if _, err := os.Stdout.Write(stamp); err != nil {
			return err
		}
	}
}

func monotonic() int64 {
	var ts unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano()
}

// waitForSyscall returns when some thread of a process sleeps in a system call.
func waitForSyscall(pid int, number int) {
	want := strconv.Itoa(number) + " "
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		for _, f := range files {
			if text, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(text), want) {
				return
			}
		}
	}
	fail("the partner does not wait for the lock")
}
