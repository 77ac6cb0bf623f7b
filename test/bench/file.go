package main

import (
	"bytes"
	"time"

	"golang.org/x/sys/unix"
)

// largeFile is fan-out of a payload as a file, and a listener has it when he has its descriptor. The file is made in memory, filled and sealed
// for each message; or it is there already. The value is bytes by time, of all listeners, as that of largeMessages.
func largeFile(listeners, size int, there bool) scenario {
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
		file := -1
		if there {
			file = sealedFile(content)
			keep(&conn{fd: file})
		}
		return func(d time.Duration) sample {
			n := 0
			start := time.Now()
			for ; n == 0 || time.Since(start) < d; n++ {
				fd := file
				if !there {
					fd = sealedFile(content)
				}
				must(unix.Sendmsg(publisher.fd, request, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL))
				for _, l := range all[1:] {
					l.takeFile(int64(size))
				}
				publisher.reply()
				if !there {
					must(unix.Close(fd))
				}
			}
			return perSecondOf(time.Since(start), n, listeners*size)
		}
	}
}

// sealedFile makes a file in memory that nobody can change any more.
func sealedFile(content []byte) (fd int) {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	must(err)
	for left := content; len(left) > 0; {
		written, err := unix.Write(fd, left)
		must(err)
		left = left[written:]
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	must(err)
	return fd
}

// onlyFile is the floor under largeFile: the file is made and sealed, as the publisher has to, and closed. No server has a part in it.
func (b *bench) onlyFile(listeners, size int) contender {
	return contender{name: bareServer, open: func(p place) (*subject, error) {
		if err := b.cpus.driver(p).pin(); err != nil {
			return nil, err
		}
		content := bytes.Repeat([]byte("x"), size)
		return &subject{close: func() {}, cell: func(d time.Duration) sample {
			n := 0
			start := time.Now()
			for ; n == 0 || time.Since(start) < d; n++ {
				must(unix.Close(sealedFile(content)))
			}
			return perSecondOf(time.Since(start), n, listeners*size)
		}}, nil
	}}
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
