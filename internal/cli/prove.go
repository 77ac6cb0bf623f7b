package cli

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// sendProven sends a command behind IPCD.PROVE, which tells the daemon that this process is the one that connected, and no relay
// in between. Both go with one write, and so have two replies: see proof.
func sendProven(conn *ipc.Conn, words ...string) error {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return exit.Fail(exit.OS, "cannot prove to ipcd who asks: "+exit.Reason(err))
	}
	defer unix.Close(self)
	conn.Buffer("IPCD.PROVE")
	return conn.SendFDs([]int{self}, words...)
}

// proof reads the first of the two replies.
func proof(conn *ipc.Conn) error {
	_, err := conn.Reply()
	if errors.Is(err, ipc.ErrDenied) {
		return &unproven{err}
	}
	return err
}

// doProven is Conn.Do for a command that needs the proof.
func doProven(conn *ipc.Conn, words ...string) (wire.Value, error) {
	if err := sendProven(conn, words...); err != nil {
		return wire.Value{}, err
	}
	if err := proof(conn); err != nil {
		return wire.Value{}, err
	}
	return conn.Reply()
}

// unproven is the error if another process than this one connected to the daemon.
type unproven struct{ error }

func (u *unproven) Unwrap() error { return u.error }
