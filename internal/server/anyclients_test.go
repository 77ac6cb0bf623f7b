package server

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc/wire"
)

var anyClients = flag.Int("clients", 1200, "how many worlds TestAnyClients makes")

// TestAnyClients has a few clients send any commands, several in one write, and read as little as they like: the daemon goes on, what it
// sends each of them is whole RESP, replies come in order, none is missing, and each message comes under its own topic.
func TestAnyClients(t *testing.T) {
	for seed := range uint64(*anyClients) {
		if !t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { (&anyWorld{r: rand.New(rand.NewPCG(seed, 0)), t: t}).play() }) {
			break
		}
	}
}

// anyWorld is a daemon with such clients.
type anyWorld struct {
	t        *testing.T
	r        *rand.Rand
	s        *stage
	topics   []string
	commands []string // some of anyCommands: of few, each is more often beside any other
	clients  []*anyClient
	said     []string // all that was done, to be read when it fails
	number   int      // of the last marker or message
}

// anyClient is one of them.
type anyClient struct {
	actor
	number  int
	got     strings.Builder
	inMulti bool
	steady  bool     // it speaks RESP3 from its first word on, and so may say anything while it has subscriptions
	markers []string // the texts that it has had echoed
	closed  bool
}

// anyCommands are what clients say, one or several behind each other, where some words stand for others: see words.
var anyCommands = []string{
	"TRANSACTION", "TRANSACTION", "TRANSACTION", "TRANSACTION", "PSUBSCRIBE ipcd/filter-json/#; PUBLISH SENT", "UNSUBSCRIBE TOPIC; SUBSCRIBE TOPIC", "SUBSCRIBE TOPIC; PUBLISH SENT", "PUBLISH SENT; PUBLISH SENT", "PUNSUBSCRIBE a*; SUBSCRIBE TOPIC",
	"BUS.UNSUB FILTER; BUS.SUB FILTER", "UNSUBSCRIBE TOPIC; BUS.SUB FILTER", "HELLO 3; BUS.SUB FILTER SLOW CONFLATE", "BUS.SUB FILTER GROUP GROUP; BUS.PUB SENT",
	"HELLO 2", "HELLO 3", "HELLO 3", "RESET", "MULTI", "EXEC", "EXEC", "DISCARD", "PING", "CLIENT GETNAME", "CLIENT GETNAME", "CLIENT SETNAME a", "CLIENT REPLY OFF", "CLIENT REPLY SKIP", "CLIENT REPLY ON", "CLIENT ID",
	"CLIENT LIST", "CLIENT INFO", "ECHO pmessage", "ECHO bus.lost", "ECHO bus.message", "ECHO ipcd/filter-json/x", "IPCD.STATUS", "COMMAND COUNT", "INFO",
	"SUBSCRIBE TOPIC", "SUBSCRIBE TOPIC TOPIC", "UNSUBSCRIBE TOPIC", "UNSUBSCRIBE", "PSUBSCRIBE a*", "PSUBSCRIBE *", "PUNSUBSCRIBE a*", "PUNSUBSCRIBE",
	"PSUBSCRIBE ipcd/filter/FILTER", "PSUBSCRIBE ipcd/filter-json/FILTER", "PSUBSCRIBE ipcd/group/GROUP/FILTER", "PUNSUBSCRIBE ipcd/filter-json/FILTER",
	"BUS.SUB FILTER", "BUS.SUB FILTER RAW", "BUS.SUB FILTER VALUES", "BUS.SUB FILTER SLOW CONFLATE", "BUS.SUB FILTER SLOW DISCONNECT", "BUS.SUB FILTER QUEUE 2",
	"BUS.SUB FILTER SLOW CONFLATE QUEUE 3 BYTES 1000", "BUS.SUB FILTER GROUP GROUP", "BUS.SUB FILTER GROUP GROUP TAKE 2", "BUS.UNSUB FILTER", "BUS.UNSUB",
	"BUS.UNSUB FILTER GROUP GROUP", "BUS.SUB ipcd/lock/#",
	"PUBLISH SENT", "PUBLISH SENT", "PUBLISH SENT", "BUS.PUB SENT", "BUS.PUB SENT RETAIN", "BUS.PUB SENT RETAIN EXPIRES 50", "BUS.PUB SENT HEADER a FD",
	"BUS.PUB SENT MAYBLOCK 20", "BUS.PUB SENT UNDER LOCK 1", "BUS.PUB SENT REQID ID", "BUS.GET TOPIC", "BUS.LIST FILTER", "BUS.CLEAR TOPIC",
	"BUS.WILL SENT", "BUS.WILL SENT RETAIN", "BUS.WILL TOPIC x CLEAR", "BUS.UNWILL TOPIC",
	"BUS.SERVE FILTER", "BUS.SERVE FILTER GROUP GROUP", "BUS.SERVE FILTER COUNT 1", "BUS.UNSERVE", "BUS.UNSERVE FILTER", "BUS.REQ TOPIC x ASYNC", "BUS.REQ TOPIC x TIMEOUT 10",
	"BUS.REQ TOPIC x ASYNC PARTS REPLIES 3", "BUS.REQ TOPIC x TIMEOUT 10 REPLIES ALL", "BUS.REQ TOPIC x TIMEOUT 10 REPEATABLE REQID ID", "BUS.REQ TOPIC x ASYNC WAIT 20 ENVELOPE",
	"BUS.REPLY NUMBER y", "BUS.REPLY NUMBER y MORE", "BUS.REPLY NUMBER y ERROR", "BUS.CANCEL NUMBER",
	"LOCK.ACQUIRE LOCK WAIT 10", "LOCK.ACQUIRE LOCK WAIT 0", "LOCK.ACQUIRE LOCK ASYNC", "LOCK.ACQUIRE LOCK SHARED ASYNC", "LOCK.ACQUIRE LOCK AND LOCK2 WAIT 5",
	"LOCK.ACQUIRE LOCK LEASE 30 WAIT 0", "LOCK.ACQUIRE LOCK WAIT 10 REQID ID", "LOCK.ACQUIRE LOCK OWNER o ASYNC", "LOCK.RELEASE LOCK", "LOCK.BREAK LOCK", "LOCK.INFO LOCK",
	"LOCK.LIST", "LOCK.CANCEL NUMBER", "LOCK.RENEW LOCK 1", "NOSUCH", "LOCK.ACQUIRE", "BUS.PUB a/# x",
}

// pick is one of several.
func (w *anyWorld) pick(of ...string) string { return of[w.r.IntN(len(of))] }

// some are commands for a client to send.
func (w *anyWorld) some() (all [][]string) {
	commands := w.pick(w.commands...)
	if commands == "TRANSACTION" { // of which the reply looks like anything
		commands = "MULTI; " + w.pick("ECHO pmessage", "ECHO bus.lost", "ECHO bus.message", "PING")
		for range 1 + w.r.IntN(4) {
			commands += "; " + w.pick("ECHO ipcd/filter-json/a", "CLIENT GETNAME", "CLIENT GETNAME", "PING", "PUBLISH SENT")
		}
		commands += "; EXEC"
	}
	for one := range strings.SplitSeq(commands, ";") {
		all = append(all, w.words(strings.Fields(one)))
	}
	return all
}

// words are the words of a command.
func (w *anyWorld) words(words []string) (all []string) {
	for _, word := range words {
		switch {
		case word == "SENT": // a topic, and a payload that begins with it
			topic := w.pick(w.topics...)
			w.number++
			all = append(all, topic, topic+"="+strconv.Itoa(w.number)+strings.Repeat("x", w.r.IntN(3)*w.r.IntN(1500)))
		case word == "TOPIC":
			all = append(all, w.pick(w.topics...))
		case word == "LOCK":
			all = append(all, w.pick("l", "m"))
		case word == "LOCK2":
			all = append(all, "n")
		case word == "ID":
			all = append(all, w.pick("1", "2", "3"))
		case word == "NUMBER":
			all = append(all, strconv.Itoa(1+w.r.IntN(6)))
		case word == "GROUP" && len(all) > 0 && all[len(all)-1] == "GROUP":
			all = append(all, w.pick("g", "h"))
		case strings.HasSuffix(word, "FILTER"), strings.Contains(word, "/GROUP/"):
			all = append(all, strings.NewReplacer("FILTER", w.pick("a", "#", "b/+", "+/c"), "GROUP", w.pick("g", "h")).Replace(word))
		default:
			all = append(all, word)
		}
	}
	return all
}

// say has a client send some commands in one write.
func (w *anyWorld) say(c *anyClient) {
	var b []byte
	for range 1 + w.r.IntN(6) {
		if w.r.IntN(4) == 0 && !c.inMulti {
			w.number++
			marker := "marker-" + strconv.Itoa(w.number)
			c.markers = append(c.markers, marker)
			b = w.append(b, c, "ECHO", marker)
		}
		for _, words := range w.some() {
			b = w.append(b, c, words...)
		}
	}
	c.Send(b...)
}

// append appends a command that a client sends.
func (w *anyWorld) append(b []byte, c *anyClient, words ...string) []byte {
	if c.steady && (words[0] == "HELLO" || words[0] == "RESET" || words[0] == "CLIENT" && words[1] == "REPLY") {
		words = []string{"PING"}
	}
	switch words[0] {
	case "MULTI":
		c.inMulti = true
	case "EXEC", "DISCARD", "RESET":
		c.inMulti = false
	}
	w.note("%d: %.80q", c.number, words)
	return wire.AppendCommand(b, words...)
}

func (w *anyWorld) note(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

// play lets them do what they like.
func (w *anyWorld) play() {
	defer func() {
		if r := recover(); r != nil {
			w.t.Errorf("%v\n%s", r, strings.Join(w.said, "\n"))
			panic(r)
		}
	}()
	w.s = newStage(w.t, func(_ *Setup, o *Options) {
		o.Limits.Output, o.Limits.BuffersPerUser = 6<<10, 40<<10
	})
	for range 2 {
		w.topics = append(w.topics, w.pick("a", "aaaaa", "b/c", "b/d"))
	}
	for range 3 + w.r.IntN(12) {
		w.commands = append(w.commands, w.pick(anyCommands...))
	}
	w.commands = append(w.commands, w.pick("PUBLISH SENT", "BUS.PUB SENT"))
	for range 3 {
		w.connect()
	}
	for range 60 {
		c := w.clients[w.r.IntN(len(w.clients))]
		switch n := w.r.IntN(20); {
		case n < 9 && !c.closed:
			w.say(c)
		case n < 12:
			w.s.settle()
			w.note("settle")
		case n < 15:
			room := []int{0, 0, 0, 0, 0, 1, 7, 100, 3000, -1, -1}[w.r.IntN(11)]
			c.SetRoom(room)
			w.note("%d: room %d", c.number, room)
		case n < 17:
			c.got.WriteString(c.Take())
		case n < 18:
			d := time.Duration(w.r.IntN(60)) * time.Millisecond
			w.s.set.Loop.Clock.SetNow(w.s.set.Now() + d)
			w.s.set.Loop.TimeUp()
			w.note("after %v", d)
		case n < 19 && !c.closed && w.r.IntN(3) == 0:
			if c.closed = true; w.r.IntN(2) == 0 {
				c.HalfClose()
			} else {
				c.Close()
			}
			w.note("%d: closed", c.number)
			w.connect()
		}
	}
	for range 3 { // what was held up goes on when others read
		for _, c := range w.clients {
			c.SetRoom(-1)
			w.s.settle()
			c.got.WriteString(c.Take())
		}
		w.s.set.Loop.Clock.SetNow(w.s.set.Now() + time.Second)
		w.s.set.Loop.TimeUp()
	}
	well := true
	for _, c := range w.clients {
		well = w.check(c) && well
	}
	if !well {
		w.t.Log(strings.Join(w.said, "\n"))
	}
	for _, c := range w.clients {
		c.Close()
	}
	w.s.settle()
}

func (w *anyWorld) connect() {
	c := &anyClient{actor: w.s.connect(uint32(1000 + w.r.IntN(2))), number: len(w.clients)}
	if c.steady = w.r.IntN(2) == 0; c.steady {
		c.cmd("HELLO", "3")
	}
	w.clients = append(w.clients, c)
}

// check looks at all that a client was sent.
func (w *anyWorld) check(c *anyClient) bool {
	got := c.got.String()
	d := wire.NewDecoder(strings.NewReader(got), wire.DefaultLimits)
	var markers []string
	for {
		v, err := d.Decode()
		if err == io.EOF || c.Gone && err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			w.t.Errorf("client %d: %v in %q", c.number, err, got)
			return false
		}
		if strings.HasPrefix(v.Str, "marker-") {
			markers = append(markers, v.Str)
		}
		topic, payload := -1, 0
		if len(v.Elems) > 2 {
			switch v.Elems[0].Str {
			case "message":
				topic, payload = 1, 2
			case "bus.message":
				topic, payload = 2, 3
			}
		}
		if topic > 0 && len(v.Elems) > payload && !strings.HasPrefix(v.Elems[topic].Str, "ipcd/") {
			if p := v.Elems[payload].Str; strings.Contains(p, "=") && !strings.HasPrefix(p, v.Elems[topic].Str+"=") {
				w.t.Errorf("client %d was sent %.400s", c.number, fmt.Sprintf("%+v", v.Elems))
				return false
			}
		}
	}
	if !c.steady { // some were refused, as it had subscriptions
		c.markers = slices.DeleteFunc(c.markers, func(m string) bool { return !slices.Contains(markers, m) })
	}
	if len(markers) > len(c.markers) || !slices.Equal(markers, c.markers[:len(markers)]) {
		w.t.Errorf("client %d has had echoed %q, and got %q", c.number, c.markers, markers)
		return false
	}
	return true
}
