package cli

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

// A lockMode is what to do with a lock.
type lockMode uint8

const (
	exclusive lockMode = iota
	shared
	unlock // flock -u
)

// A request is what lock and acquire have in common: asking for a lock.
type request struct {
	mode     lockMode
	nonblock bool
	timeout  span
	conflict int // status instead of 75 and 124
	why      string
}

// unset is a request.conflict that changes nothing.
const unset = -1

func (q *request) options() []Option {
	return []Option{
		pick('s', "shared", &q.mode, shared, "Hold the lock together with others who say `-s`"),
		pick('x', "exclusive", &q.mode, exclusive, "Hold the lock alone: the default"),
		pick('e', "", &q.mode, exclusive, "The same as `-x`"),
		flag('n', "nonblock", &q.nonblock, "Fail with 75 rather than wait").or("nonblocking", "nb"),
		duration('w', "timeout", &q.timeout, "Fail with 124 after waiting this long; `-w 0` is `-n`").or("wait"),
		number('E', "conflict-exit-code", "N", &q.conflict, 0, 255, "Fail with N instead of 75 and 124; `-E 0` says nothing either"),
		text('m', "why", "TEXT", &q.why, "Tell those who wait, or look at `ipcctl locks`, what it is for"),
	}
}

var requestExits = []int{exitData, exitBusy, exitDeadlock, exitTimeout}

// take asks for a lock and waits until it is granted. The hold is the process's alone. Unless that is this one, pidfd
// refers to it, else it is -1.
func (q *request) take(c *call, name string, pid, pidfd int) (ipc.Value, error) {
	conn, err := c.dial()
	if err != nil {
		return ipc.Value{}, err
	}
	defer conn.Close()
	grant, err := q.wait(c, conn, name, pid, pidfd)
	if err == nil {
		return grant, nil
	}
	f := cannot("lock "+shown(name), err)
	switch f.exit {
	case exitTimeout:
		f.text = "cannot lock " + shown(name) + ": timed out after " + spoken(q.timeout.d)
		f.hint = "ipcctl locks " + shown(name)
	case exitBusy:
		f.hint = "ipcctl locks " + shown(name)
	}
	if q.conflict != unset && (f.exit == exitBusy || f.exit == exitTimeout) {
		f.exit = q.conflict
	}
	return grant, f
}

// wait sends the request and waits for its outcome.
func (q *request) wait(c *call, conn *ipc.Conn, name string, pid, pidfd int) (ipc.Value, error) {
	words := []string{"LOCK.ACQUIRE", name}
	if q.mode == shared {
		words = append(words, "SHARED")
	}
	if q.why != "" {
		words = append(words, "WHY", q.why)
	}
	try := q.nonblock || q.timeout.set && q.timeout.d == 0
	if try {
		words = append(words, "WAIT", "0")
	} else if q.timeout.set {
		words = append(words, "WAIT", milliseconds(q.timeout.d))
	}
	var (
		id  ipc.Value // of this connection: what a wait is given up by
		err error
	)
	if pidfd < 0 {
		conn.Buffer("CLIENT", "ID")
		id, err = conn.Do(append(words, "FOR", "self")...) // the first of two replies
	} else if id, err = conn.Do("CLIENT", "ID"); err == nil {
		err = conn.SendFDs([]int{pidfd}, append(words, "FOR", "pid")...)
	}
	if err != nil {
		return ipc.Value{}, err
	}
	if !try && errors.Is(conn.Wait(time.Now().Add(grace)), os.ErrDeadlineExceeded) {
		w := c.watch(name, pid, id.Text())
		grant, err := conn.Reply()
		w.end(err)
		return grant, err
	}
	return conn.Reply()
}

// shown is a name as messages have it: without quotes if nobody could misread it.
func shown(name string) string {
	if name == "" || strings.ContainsAny(name, " \"'`") || escaped(name) != name {
		return quoted(name)
	}
	return name
}
