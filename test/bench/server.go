package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A server is a process under test.
type server struct {
	kind string
	path string                 // of its socket, or where it listens on TCP
	find func() (string, error) // path, if it is not known before
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// The kinds of servers.
const (
	ipcdServer      = "ipcd"
	redisServer     = "redis"
	natsServer      = "nats (TCP)"
	mosquittoServer = "mosquitto"
	dbusDaemon      = "dbus-daemon"
	dbusBroker      = "dbus-broker"
	rawServer       = "raw"
	bareServer      = "bare"
)

// startServer starts a server in a directory of its own and waits until it answers.
func (b *bench) startServer(kind string, p place, env ...string) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, "server-")
	if err == nil {
		err = os.Chmod(dir, 0o711) // for those who attack
	}
	if err != nil {
		return nil, err
	}
	l, err := b.launchOf(kind, dir, p)
	defer func() {
		for _, f := range l.files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	s := &server{kind: kind, path: filepath.Join(dir, "sock"), find: l.find, log: filepath.Join(dir, "log"), done: make(chan struct{})}
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(l.config), 0o600); err != nil {
		return nil, err
	}
	logFile, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = logFile.Close() }()
	s.cmd = exec.Command(l.argv[0], l.argv[1:]...)
	s.cmd.ExtraFiles = l.files
	s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
	s.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cpus.server(p).pin(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	if err := b.cpus.driver(p).pin(); err != nil {
		s.stop()
		return nil, err
	}
	if l.begin != nil {
		err = l.begin()
	}
	if err == nil {
		err = s.waitUntilReady()
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) waitUntilReady() error {
	deadline := time.After(patience)
	for {
		if c, err := s.dial(); err == nil {
			defer closeAll([]*conn{c})
			s.protocol().hello(c)
			c.send(s.protocol().echo())
			c.reply()
			return nil
		}
		select {
		case <-s.done:
		case <-deadline:
		case <-time.After(2 * time.Millisecond):
			continue
		}
		text, _ := os.ReadFile(s.log) // if there is none, there is nothing more to say
		return fmt.Errorf("%s does not answer: %s", s.kind, text)
	}
}

// dial connects to a server that may not have come so far.
func (s *server) dial() (_ *conn, err error) {
	if s.find != nil {
		if s.path, err = s.find(); err != nil {
			return nil, err
		}
	}
	return dial(s.path)
}

// stop ends the server.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(3 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) cpu() time.Duration {
	t, err := cpuTime(s.pid())
	if err != nil {
		panic(failure{err})
	}
	return t
}

// used is the CPU time that all threads of the server have used, by the clock that the kernel keeps of a process.
func (s *server) used() time.Duration {
	const sched = 2 // see clock_getcpuclockid(3)
	var now unix.Timespec
	must(unix.ClockGettime(int32(^s.pid()<<3|sched), &now))
	return time.Duration(now.Nano())
}

// serveRaw answers whatever comes with a PONG, one connection after the other: less than any server can do that has two.
func serveRaw(path string) error {
	fd, err := listen(path)
	if err != nil {
		return err
	}
	for {
		peer, _, err := unix.Accept(fd)
		if err != nil {
			return err
		}
		serveRawConn(&conn{fd: peer})
		_ = unix.Close(peer)
	}
}

func serveRawConn(c *conn) {
	defer func() { _ = recover() }() // the peer hung up
	for {
		c.reply()
		c.send([]byte("+PONG\r\n"))
	}
}
