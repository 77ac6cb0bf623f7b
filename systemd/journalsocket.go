package systemd

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// journalSocket sends messages to the journal. It connects when there is something to send, and again whenever that
// failed. (An unconnected socket would not do: it is not woken when the journal has room again.)
type journalSocket struct {
	path string
	conn *net.UnixConn
}

// journalPatience is how long one message may wait for the journal.
const journalPatience = 5 * time.Second

// Write sends one message.
func (s *journalSocket) Write(message []byte) (int, error) {
	fresh := s.conn == nil
	err := s.send(message)
	if err != nil && !fresh && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.send(message) // perhaps to a new journal
	}
	if err != nil {
		return 0, err
	}
	return len(message), nil
}

func (s *journalSocket) send(message []byte) (err error) {
	if s.conn == nil {
		s.conn, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
		if err != nil {
			return err
		}
	}
	err = s.conn.SetWriteDeadline(time.Now().Add(journalPatience))
	if err == nil {
		_, err = s.conn.Write(message)
	}
	if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
		err = s.sendLarge(message)
	}
	if err != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
	return err
}

// sendLarge sends a message that is too long for a datagram as a sealed file in memory.
func (s *journalSocket) sendLarge(message []byte) error {
	fd, err := unix.MemfdCreate("journal", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for len(message) > 0 {
		n, err := unix.Write(fd, message)
		if err != nil {
			return err
		}
		message = message[n:]
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(fd)
	var sendErr error
	err = raw.Write(func(conn uintptr) bool {
		sendErr = unix.Sendmsg(int(conn), nil, rights, nil, unix.MSG_NOSIGNAL)
		return sendErr != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	return sendErr
}
