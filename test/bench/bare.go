package main

import (
	"bytes"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A bare server is the floor under every server that one thread runs: an event loop with the system calls that it takes, and
// nothing that is worth having. It knows no protocol (it counts the commands and answers with a constant), no limits and
// no second read, and believes that each write is taken. Where it does not reach a target, no server does on this machine.
//
// It knows two commands for the row of the hand-off: BLPOP is not answered before there is an RPUSH. And some for those of requests, of one
// asker and one responder: see carry.
type bareLoop struct {
	epoll, listener int
	poll            time.Duration // before it blocks
	events          [64]unix.EpollEvent
	waiting         int // the connection whose BLPOP is not answered

	responder, asker int                   // the connections that what is asked, and answered, goes to
	quiet            [bareDescriptors]bool // those that want no answers to their commands
}

// bareDescriptors is above the descriptors of the few connections that say that they want no answers.
const bareDescriptors = 256

// pong is its only answer, as often as commands come in one read.
const pong = "+PONG\r\n"

var pongs = bytes.Repeat([]byte(pong), len(inbox)/len("*1\r\n$4\r\nPING\r\n"))

// serveBare runs a bare server on a socket. poll is a duration in text.
func serveBare(path, poll string) error {
	runtime.LockOSThread()
	s := new(bareLoop)
	var err error
	if s.poll, err = time.ParseDuration(poll); err != nil {
		return err
	}
	if s.listener, err = listen(path); err != nil {
		return err
	}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := s.watch(s.listener, 0); err != nil {
		return err
	}
	for {
		n, err := s.wait()
		if err != nil {
			return err
		}
		for _, ev := range s.events[:n] {
			if int(ev.Fd) == s.listener {
				fd, _, err := unix.Accept(s.listener)
				if err != nil {
					return err
				}
				if err := s.watch(fd, uint32(unix.EPOLLET&0xffffffff)); err != nil {
					return err
				}
				continue
			}
			s.serve(int(ev.Fd))
		}
	}
}

func listen(path string) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fd, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fd, err
	}
	return fd, unix.Listen(fd, 128)
}

func (s *bareLoop) watch(fd int, how uint32) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | how, Fd: int32(fd)})
}

func (s *bareLoop) wait() (int, error) {
	for start := time.Now(); s.poll > 0 && time.Since(start) < s.poll; {
		if n, err := s.epollWait(0); n > 0 || err != nil {
			return n, err
		}
	}
	return s.epollWait(-1)
}

func (s *bareLoop) epollWait(timeout int) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.epoll), uintptr(unsafe.Pointer(&s.events)),
			uintptr(len(s.events)), uintptr(timeout), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

func (s *bareLoop) serve(fd int) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&inbox)),
		uintptr(len(inbox)), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		return
	}
	if errno != 0 || n == 0 {
		_ = unix.Close(fd)
		return
	}
	in := inbox[:n]
	answer := pongs[:bytes.Count(in, []byte{'*'})*len(pong)]
	switch {
	case bytes.HasPrefix(in, []byte("*3\r\n$5\r\nBLPOP")):
		s.waiting = fd
		return
	case bytes.HasPrefix(in, []byte("*3\r\n$5\r\nRPUSH")):
		bareSend(s.waiting, answer)
	case s.carry(fd, in):
		return
	}
	bareSend(fd, answer)
}

// What is sent for a request: it is always the same.
var (
	bareQuestion = []byte("*3\r\n$7\r\nmessage\r\n$9\r\nbench/ask\r\n$64\r\n" + payload(64) + "\r\n")
	bareReply    = []byte("*3\r\n$7\r\nmessage\r\n$11\r\nbench/reply\r\n$64\r\n" + payload(64) + "\r\n")
	bareRequest  = []byte(">10\r\n$11\r\nbus.request\r\n:1000000\r\n$9\r\nbench/ask\r\n$9\r\nbench/ask\r\n$64\r\n" + payload(64) +
		"\r\n:1700000000000000\r\n:100000\r\n:0\r\n$0\r\n\r\n:0\r\n")
	bareAnswer = []byte("$64\r\n" + payload(64) + "\r\n")
)

// carry sends on what one command asks or answers, or notes for whom that is. It reports whether the command has no answer of its own.
func (s *bareLoop) carry(fd int, in []byte) (done bool) {
	is := func(word string) bool { return len(in) > 8 && bytes.HasPrefix(in[8:], []byte(word)) }
	switch {
	case is("PING"), s.responder == 0 && is("PUBLISH"):
		return false
	case is("PUBLISH") && bytes.Contains(in, []byte(askTopic)):
		bareSend(s.responder, bareQuestion)
	case is("PUBLISH"):
		bareSend(s.asker, bareReply)
	case is("BUS.REQ"):
		s.asker = fd
		bareSend(s.responder, bareRequest)
		return true
	case is("BUS.REPLY"):
		bareSend(s.asker, bareAnswer)
	case is("SUBSCRIBE") && bytes.Contains(in, []byte(replyTopic)):
		s.asker = fd
	case is("SUBSCRIBE"), is("BUS.SERVE"):
		s.responder = fd
	case is("CLIENT"):
		s.quiet[fd] = true
	}
	return fd < bareDescriptors && s.quiet[fd]
}

func bareSend(fd int, b []byte) {
	_, _, _ = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
}
