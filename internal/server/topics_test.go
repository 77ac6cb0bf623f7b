package server

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/messages"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A schema is what docs/topics.md says of the fields of a topic's events, and of each field whether it may be missing.
type schema map[string]bool

// documented are the schemas by topic, and the types of fields.
var documented = sync.OnceValues(func() (topics map[string]schema, types map[string]string) {
	page, err := os.ReadFile("../../docs/topics.md")
	if err != nil {
		panic(err)
	}
	topics, types = map[string]schema{}, map[string]string{}
	var common schema
	for paragraph := range strings.SplitSeq(string(page), "\n\n") {
		if strings.HasPrefix(paragraph, "Each has ") {
			common = fieldsOf(paragraph)
		}
		for line := range strings.Lines(paragraph) {
			cells := strings.Split(line, "|")
			if len(cells) != 5 || !strings.Contains(cells[1], "`") {
				continue
			}
			if topic := strings.Trim(cells[1], " `"); strings.HasPrefix(topic, "ipcd/") {
				topics[topic] = fieldsOf(cells[3])
				maps.Copy(topics[topic], common)
				continue
			}
			kinds := strings.Split(strings.TrimSpace(cells[2]), ", ")
			for i, field := range word.FindAllStringSubmatch(cells[1], -1) {
				types[field[2]] = kinds[min(i, len(kinds)-1)]
			}
		}
	}
	return topics, types
})

var word = regexp.MustCompile("`(\\[?)([a-z_]+)\\]?`")

// fieldsOf are those that a text names first: behind "learned" stands none.
func fieldsOf(text string) schema {
	text, _, _ = strings.Cut(text, ", but `learned`")
	s := schema{}
	for _, f := range word.FindAllStringSubmatch(text, -1) {
		s[f[2]] = f[1] != ""
	}
	return s
}

// topicOf is a topic as the page has it: the name of a lock is NAME.
func topicOf(topic string) string {
	if levels := strings.SplitN(topic, "/", 4); len(levels) == 4 {
		return strings.Join(levels[:3], "/") + "/NAME"
	}
	return topic
}

// checkSchema checks an event against the page.
func checkSchema(t testing.TB, topic string, payload map[string]any) {
	t.Helper()
	topics, types := documented()
	s, ok := topics[topicOf(topic)]
	if !ok || payload["event"] != strings.Split(topic, "/")[2] {
		t.Errorf("docs/topics.md has no %s with %v", topic, payload)
	}
	for field, optional := range s {
		if _, ok := payload[field]; !ok && !optional {
			t.Errorf("%s has no %s: %v", topic, field, payload)
		}
	}
	for field, value := range payload {
		if _, ok := s[field]; !ok {
			t.Errorf("docs/topics.md says nothing of %s of %s: %v", field, topic, payload)
		}
		kind := "text"
		if _, ok := value.(float64); ok {
			kind = "number"
		}
		if types[field] != kind {
			t.Errorf("%s of %s is %v, and not of type %q", field, topic, value, types[field])
		}
	}
}

// TestTopics: every topic that docs/topics.md has is published, with the fields that it says and no others, and each of these is seen. That
// an event is as the page says is checked wherever a test reads one.
func TestTopics(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.Output = 64 << 10 })
	watcher := h.dial3()
	watcher.do("BUS.SUB", "ipcd/#")
	topics, types := documented()
	seen, fields := map[string]bool{}, map[string]bool{}
	until := func(topic string) {
		t.Helper()
		for last := ""; last != topic; {
			var payload map[string]any
			last, payload = watcher.event()
			seen[topicOf(last)] = true
			for field := range payload {
				fields[field] = true
			}
		}
	}

	a, b, d := h.dial(), h.dial3(), h.dial3()
	until("ipcd/client/connected")
	g := d.acquire("a", "LEASE", "60000", "OWNER", "a")
	a.send("LOCK.ACQUIRE a OWNER b JOIN " + g.token + "\r\n")
	until("ipcd/lock/joined/a")
	d.do("LOCK.ACQUIRE", "a", "JOIN", g.token, "OWNER", "a")
	until("ipcd/lock/reentered/a")
	d.do("LOCK.RENEW", "a", g.token, "LEASE", "50000")
	d.do("LOCK.DOWNGRADE", "a", g.token)
	until("ipcd/lock/downgraded/a")
	b.refused(wire.CodeTimeout, "", "LOCK.ACQUIRE", "a", "OWNER", "c", "WAIT", "1")
	until("ipcd/lock/timedout/a")
	b.do("LOCK.CANCEL", b.do("LOCK.ACQUIRE", "a", "OWNER", "c", "ASYNC").Text())
	until("ipcd/lock/cancelled/a")
	e := h.dial() // which is told nothing beside its replies
	e.do("LOCK.BREAK", "a", "WHY", "test")
	until("ipcd/lock/broken/a")
	b.cmd("LOCK.ACQUIRE", "a", "LEASE", "60000")
	until("ipcd/lock/acquired/a")
	h.pass(45 * time.Second)
	until("ipcd/lock/expiring/a")
	h.pass(15 * time.Second)
	until("ipcd/lock/expired/a")

	c := h.dial3()
	c.do("CLIENT", "SETNAME", "c")
	c.acquire("s", "LIMIT", "3", "UNITS", "2")
	c.acquire("b")
	c.close()
	until("ipcd/client/disconnected")
	f := h.dial3()
	f.do("LOCK.TOLD", "b", f.acquire("b", "UNTOLD").token)
	until("ipcd/lock/told/b")

	stuck := h.dial3()
	stuck.do("BUS.SUB", "x")
	for large := strings.Repeat("x", 32<<10); f.do("BUS.PUB", "x", large).Get("dropped").Int == 0; {
	}
	h.pass(lossPeriod)
	until("ipcd/client/lost")

	h.Announce("config", "reloaded", Field{"why", "SIGHUP"}, Field{"config", "a"}, Field{"changed", "b"})
	h.Announce("config", "refused", Field{"why", "SIGHUP"}, Field{"file", "a"}, Field{"line", int64(1)}, Field{"error", "b"})
	h.Announce("status", "problem", Field{"problem", "a"})
	h.cancel()
	until("ipcd/status/stopping")

	seen["ipcd/lock/learned/NAME"] = true // see TestReapedBeforeTheNext
	fields["left_out"] = true             // see TestClientFlood
	for topic := range topics {
		if !seen[topic] {
			t.Errorf("there was no %s", topic)
		}
	}
	if got, want := slices.Sorted(maps.Keys(fields)), slices.SortedFunc(maps.Keys(types), cmp.Compare[string]); !slices.Equal(got, want) {
		t.Errorf("the fields are %v, the page has %v", got, want)
	}
}

// TestClients: who comes and goes is told, and why.
func TestClients(t *testing.T) {
	h := start(t)
	watcher := h.dial3()
	watcher.do("BUS.SUB", "ipcd/client/#")
	expect := func(event string, id uint64, fields ...any) {
		t.Helper()
		topic, payload := watcher.event()
		if topic != "ipcd/client/"+event || payload["id"] != float64(id) || payload["pid"] != float64(os.Getpid()) || payload["uid"] != float64(os.Getuid()) {
			t.Fatalf("got %s %v, want %s of %d", topic, payload, event, id)
		}
		for i := 0; i < len(fields); i += 2 {
			if got := payload[fields[i].(string)]; got != fields[i+1] {
				t.Errorf("%s: %s is %v, want %v", event, fields[i], got, fields[i+1])
			}
		}
	}
	connect := func() (*client, uint64) {
		t.Helper()
		c := h.dial3()
		id := c.id()
		expect("connected", id)
		return c, id
	}
	c, id := connect()
	c.do("CLIENT", "SETNAME", "me")
	c.close()
	expect("disconnected", id, "name", "me", "reason", "closed")

	c, id = connect()
	c.do("QUIT")
	expect("disconnected", id, "name", "", "reason", "closed")

	_, id = connect()
	watcher.cmd("CLIENT", "KILL", strconv.FormatUint(id, 10))
	watcher.value()
	expect("disconnected", id, "reason", "ended by CLIENT KILL")

	c, id = connect()
	c.send("*1\r\n!\r\n")
	_, payload := watcher.event()
	if reason, _ := payload["reason"].(string); payload["id"] != float64(id) || reason == "" || reason == "closed" {
		t.Errorf("got %v", payload)
	}
}

// TestClientFlood: where events go to very many, those about one user's connections do not fill the line: they are left out, and counted by the
// next event. Those about others are not.
func TestClientFlood(t *testing.T) {
	m, c := newMany(t, 1)
	for i := range messages.FewPatterns + 1 {
		c.cmd("PSUBSCRIBE", "ipcd/client/c"+strings.Repeat("*", i+1))
	}
	watcher, publisher := m.connect(false), m.connectAs(1001, false)
	watcher.cmd("HELLO", "3")
	watcher.cmd("BUS.SUB", "ipcd/client/connected")
	m.settle()
	watcher.take()
	publisher.cmd("BUS.PUB", manyLevels, "x")
	m.step()
	if m.messages.InLine() != 1 {
		t.Fatal("nothing stands in line")
	}
	const more = 4
	for range messages.MostEvents + more {
		m.connectAs(1002, false)
	}
	if n := m.messages.InLine(); n != 1+messages.MostEvents {
		t.Errorf("%d stand in line", n)
	}
	for range 2 {
		m.connectAs(1003, false)
	}
	m.settle()
	got := watcher.take()
	if n := strings.Count(got, `"uid":1002,`); n != messages.MostEvents {
		t.Errorf("%d connections of the flood were told of", n)
	}
	if _, behind, _ := strings.Cut(got, `"uid":1003,`); strings.Count(got, "left_out") != 1 || !strings.Contains(behind, fmt.Sprintf(`"left_out":%d}`, more)) {
		t.Errorf("what was left out is not told once: %s", got)
	}
}
