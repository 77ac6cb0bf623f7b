package script

import (
	"context"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ipcd/ipcd/ipc"
)

// quietly runs a command that leaves a process in the background: testscript would wait for that, too, if it had the
// pipes of the command's output.
func quietly(ts *testscript.TestScript, args ...string) {
	err := ts.Exec("sh", append([]string{"-c", `exec "$@" </dev/null >/dev/null 2>&1`, "sh"}, args...)...)
	if err != nil {
		ts.Fatalf("%q: %v", args, err)
	}
}

func holdLock(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) >= 1, "hold [OPT…] NAME")
	name := args[len(args)-1]
	words := append([]string{"ipcctl", "wait", "-w30", "held/" + name, "--", "ipcctl", "lock"}, args...)
	quietly(ts, append(words, "--", "ipcctl", "wait", "free/"+name, "--", "ipcctl", "pub", "held/"+name)...)
}

func freeLock(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "free NAME")
	name := args[0]
	quietly(ts, "ipcctl", "wait", "-w30", "ipcd/lock/released/"+name, "--", "ipcctl", "pub", "-e", "1", "free/"+name)
}

// info calls done with what LOCK.INFO says of a lock, and again after each message of filter, until it is satisfied.
func info(ts *testscript.TestScript, name, filter string, done func(ipc.Value) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := ipc.DialConn(ctx, ts.Getenv("IPCD_SOCKET"))
	ts.Check(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	for _, words := range [][]string{{"HELLO", "3"}, {"BUS.SUB", filter}} {
		_, err := conn.Do(words...)
		ts.Check(err)
	}
	for {
		v, err := conn.Do("LOCK.INFO", name)
		ts.Check(err)
		if done(v) {
			return
		}
		_, err = conn.Receive()
		ts.Check(err)
	}
}

func waitQueued(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "queued NAME N")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	info(ts, args[0], "ipcd/lock/+/"+args[0], func(v ipc.Value) bool { return len(v.Get("waiters").Elems) == n })
}

func setHolder(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "holder VAR NAME")
	info(ts, args[1], "ipcd/lock/acquired/"+args[1], func(v ipc.Value) bool {
		holders := v.Get("holders").Elems
		if len(holders) == 0 {
			return false
		}
		ts.Setenv(args[0], holders[0].Get("pid").Text())
		return true
	})
}
