package main

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"
)

// largeFile is fan-out of a payload as a file: it is made in memory, filled, sealed and published, and a listener has it when he has its
// descriptor. The value is bytes by time, of all listeners, as that of largeMessages.
func largeFile(listeners, size int) scenario {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		all := s.connect(1 + listeners)
		keep(all...)
		publisher := all[0]
		for _, l := range all[1:] {
			l.ask("HELLO", "3")
			l.ask("BUS.SUB", "bench/file", "FD")
		}
		content := bytes.Repeat([]byte("x"), size)
		request := command("BUS.PUB", "bench/file", "", "FD", "sealed")
		return func(d time.Duration) sample {
			n := 0
			start := time.Now()
			for ; time.Since(start) < d; n++ {
				fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
				must(err)
				for left := content; len(left) > 0; {
					written, err := unix.Write(fd, left)
					must(err)
					left = left[written:]
				}
				_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
				must(err)
				must(unix.Sendmsg(publisher.fd, request, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL))
				for _, l := range all[1:] {
					l.takeFile(int64(size))
				}
				publisher.reply()
				must(unix.Close(fd))
			}
			return perSecondOf(time.Since(start), n, listeners*size)
		}
	}
}

// perSecondOf is perSecond where each of the n counts for so much.
func perSecondOf(d time.Duration, n, each int) sample {
	x := perSecond(d, n)
	x.value *= float64(each)
	return x
}

// takeFile waits for a message with a file of a size.
func (c *conn) takeFile(size int64) {
	var rights [64]byte
	for {
		_, got, _, _, err := unix.Recvmsg(c.fd, inbox[:], rights[:], unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		must(err)
		if got == 0 {
			continue // the message, whose file has come before
		}
		messages, err := unix.ParseSocketControlMessage(rights[:got])
		must(err)
		fds, err := unix.ParseUnixRights(&messages[0])
		must(err)
		var about unix.Stat_t
		must(unix.Fstat(fds[0], &about))
		if about.Size != size {
			fail("a file has %d bytes, not %d", about.Size, size)
		}
		must(unix.Close(fds[0]))
		return
	}
}
