package script

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
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
	quietly(ts, append(words, "--", "ipcctl", "wait", "free/"+name, "--wait-daemon=0", "--", "ipcctl", "pub", "held/"+name)...)
}

func freeLock(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "free NAME")
	name := args[0]
	quietly(ts, "ipcctl", "wait", "-w30", "ipcd/lock/released/"+name, "--", "ipcctl", "pub", "-e", "1", "free/"+name)
}

// info calls done with what LOCK.INFO says of a lock, and again after each message of filter, until it is satisfied.
func info(ts *testscript.TestScript, name, filter string, done func(wire.Value) bool) {
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

// abandonLock takes a lock by a connection and ends that: the process, which goes on, may have been in the middle of something.
func abandonLock(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "abandon NAME")
	conn, err := ipc.DialConn(context.Background(), ts.Getenv("IPCD_SOCKET"))
	ts.Check(err)
	conn.SetDeadline(time.Now().Add(patience))
	_, err = conn.Do("LOCK.ACQUIRE", args[0], "WAIT", "0")
	conn.Close()
	ts.Check(err)
	info(ts, args[0], "ipcd/lock/released/"+args[0], func(v wire.Value) bool { return len(v.Get("holders").Elems) == 0 })
}

// checkDocumented looks up the keys of all objects on stdout in a document of this repository.
func checkDocumented(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "documented FILE")
	document, err := os.ReadFile(filepath.Join("../..", args[0]))
	ts.Check(err)
	for d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout"))); ; {
		var object map[string]any
		err := d.Decode(&object)
		if errors.Is(err, io.EOF) {
			return
		}
		ts.Check(err)
		for _, key := range keysOf(object) {
			if !strings.Contains(string(document), "| `"+key+"` |") {
				ts.Fatalf("%s does not explain %q", args[0], key)
			}
		}
	}
}

// keysOf are the keys of an object and of those within it.
func keysOf(v any) []string {
	var keys []string
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			keys = append(append(keys, key), keysOf(value)...)
		}
	case []any:
		for _, e := range v {
			keys = append(keys, keysOf(e)...)
		}
	}
	return keys
}

func waitQueued(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "queued NAME N")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	info(ts, args[0], "ipcd/lock/+/"+args[0], func(v wire.Value) bool { return len(v.Get("waiters").Elems) == n })
}

func setHolder(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "holder VAR NAME")
	info(ts, args[1], "ipcd/lock/acquired/"+args[1], func(v wire.Value) bool {
		holders := v.Get("holders").Elems
		if len(holders) == 0 {
			return false
		}
		ts.Setenv(args[0], holders[0].Get("pid").Text())
		return true
	})
}
