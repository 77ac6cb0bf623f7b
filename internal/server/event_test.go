package server

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// event reads the next event, which must be as docs/topics.md says.
func (c *client) event() (topic string, payload map[string]any) {
	c.t.Helper()
	v := c.value()
	if len(v.Elems) != 10 || v.Elems[0].Str != "bus.message" || v.Elems[6].Int != int64(os.Getpid()) {
		c.t.Fatalf("got %+v, want an event", v)
	}
	if err := json.Unmarshal([]byte(v.Elems[3].Str), &payload); err != nil {
		c.t.Fatalf("%v: %s", err, v.Elems[3].Str)
	}
	checkSchema(c.t, v.Elems[2].Str, payload)
	return v.Elems[2].Str, payload
}

// TestEvents: what happens to a lock, in order, and not before it is so.
func TestEvents(t *testing.T) {
	h := start(t)
	watcher, a, b, c := h.dial3(), h.dial3(), h.dial3(), h.dial3()
	watcher.do("BUS.SUB", "ipcd/lock/#")
	expect := func(event string, fields ...any) map[string]any {
		t.Helper()
		topic, payload := watcher.event()
		if topic != "ipcd/lock/"+event+"/x/y" || payload["event"] != event || payload["name"] != "x/y" {
			t.Fatalf("got %s %v, want %s", topic, payload, event)
		}
		for i := 0; i < len(fields); i += 2 {
			if got := fmt.Sprint(payload[fields[i].(string)]); got != fmt.Sprint(fields[i+1]) {
				t.Errorf("%s: %s is %s, want %v", event, fields[i], got, fields[i+1])
			}
		}
		return payload
	}
	a.acquire("x/y", "WHY", `"quotes" \ and ü`)
	expect("acquired", "mode", "exclusive", "pid", os.Getpid(), "uid", os.Getuid(), "why", `"quotes" \ and ü`, "previous", "", "abandoned", "")
	h.queue(b, "x/y", "SHARED", "OWNER", "b")
	expect("waiting", "mode", "shared", "place", 1)
	c.refused(wire.CodeTimeout, "", "LOCK.ACQUIRE", "x/y", "OWNER", "c", "WAIT", "1")
	expect("waiting", "place", 2)
	expect("timedout")
	ticket := c.do("LOCK.ACQUIRE", "x/y", "OWNER", "c", "ASYNC").Text()
	expect("waiting", "place", 2)
	c.do("LOCK.CANCEL", ticket)
	expect("cancelled")
	a.do("LOCK.RELEASE", "x/y")
	if held := expect("released", "how", "released")["held_us"].(float64); held <= 0 || held > 60e6 {
		t.Errorf("held for %v µs", held)
	}
	expect("acquired", "mode", "shared", "previous", "released")
	b.close()
	expect("released", "how", "disconnected")
	expect("abandoned", "how", "disconnected")
	a.acquire("x/y")
	expect("acquired", "previous", "disconnected", "abandoned", fmt.Sprintf("%s disconnected", describeSelf(h)))
	a.refused(wire.CodeBusy, "", "LOCK.ACQUIRE", "x/y", "OWNER", "z", "WAIT", "0")
	a.refused(wire.CodeDeadlock, "", "LOCK.ACQUIRE", "x/y")
	watcher.sync() // what is refused is no event
}

// describeSelf is this process as the server describes it.
func describeSelf(h *harness) string {
	if h.self.Unit != "" {
		return fmt.Sprintf("pid %d (uid %d, %s)", os.Getpid(), os.Getuid(), h.self.Unit)
	}
	return fmt.Sprintf("pid %d (uid %d)", os.Getpid(), os.Getuid())
}

// TestEventsOnOwnConnection: one who watches the locks that it takes itself sees the state, then the event.
func TestEventsOnOwnConnection(t *testing.T) {
	h := start(t)
	c := h.dial3()
	c.do("BUS.SUB", "ipcd/lock/+/a")
	order := func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			switch v := c.value(); {
			case v.Kind == wire.KindPush && v.Elems[0].Str == "bus.message":
				got = append(got, strings.Split(v.Elems[2].Str, "/")[2])
			case v.Kind == wire.KindPush:
				got = append(got, v.Elems[0].Str)
			case v.Kind == wire.KindMap:
				got = append(got, "grant")
			default:
				got = append(got, v.Text())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	c.cmd("LOCK.ACQUIRE", "a")
	order("grant", "acquired")
	c.cmd("LOCK.ACQUIRE", "a", "ASYNC", "OWNER", "2")
	order("2", "waiting")
	c.cmd("LOCK.RELEASE", "a")
	order("OK", "released", "done", "acquired")
}

// A lock may be called by what is a wildcard in filters: in the topics of its events it stands escaped, and in them as it is.
func TestEventsOfAnyName(t *testing.T) {
	h := start(t)
	c, watcher := h.dial3(), h.dial3()
	watcher.do("BUS.SUB", "ipcd/lock/#")
	for name, escaped := range map[string]string{"/var/lock/libstdc++.lock": "/var/lock/libstdc%2B%2B.lock", "#": "%23", "100%": "100%25"} {
		c.acquire(name)
		if topic, payload := watcher.event(); topic != "ipcd/lock/acquired/"+escaped || payload["name"] != name {
			t.Errorf("%q: %s, %v", name, topic, payload)
		}
	}
}
