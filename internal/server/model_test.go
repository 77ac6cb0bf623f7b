package server

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/internal/session"
)

// A model is a server as one would write it without regard to cost: for each command, in the order in which they are
// executed, it says which bytes whom are sent. It shares no code with the server but the matching of names.
type model struct {
	sessions map[uint64]*modelSession
	routes   []*modelRoute // by age
	seq      int
}

type modelSession struct {
	id     uint64
	proto  int
	out    strings.Builder
	off    bool // CLIENT REPLY OFF
	skip   int  // replies to leave out: 2 while CLIENT REPLY SKIP itself is executed
	gone   bool // killed, or has said QUIT: receives nothing more
	killed bool // what was not written yet is lost
	unit   string
	subs   []modelSub // in the order in which they were made
}

type modelSub struct {
	kind bus.Kind
	text string
}

type modelRoute struct {
	kind bus.Kind
	text string
	subs []*modelSession

	count int // of its messages
}

// watch has the model learn of every command that the server executes from now on.
func (mo *model) watch(m *manual) {
	m.hook(func(sess *session.Session, name string, args []string, reply string) {
		mo.execute(mo.sessions[sess.ID], name, args, reply, m.set.RealTime())
	})
}

func (mo *model) add(s *session.Session) {
	mo.sessions[s.ID] = &modelSession{id: s.ID, proto: 2, unit: s.Peer.Unit}
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func (s *modelSession) head(three string, n int) string {
	if s.proto == 3 {
		return fmt.Sprintf("%s%d\r\n", three, n)
	}
	if three == "%" {
		n *= 2
	}
	return fmt.Sprintf("*%d\r\n", n)
}

func (s *modelSession) push(parts ...string) {
	s.out.WriteString(s.head(">", len(parts)) + strings.Join(parts, ""))
}

func integer(n int) string { return fmt.Sprintf(":%d\r\n", n) }

// execute is one command. said is what the server says to HELLO, which the model does not care about.
func (mo *model) execute(s *modelSession, name string, args []string, said string, now time.Time) {
	reply := ""
	switch name {
	case "PING":
		switch subscribed := s.proto == 2 && mo.count(s, bus.Channel, bus.Pattern, bus.Filter) > 0; {
		case subscribed && len(args) > 0:
			reply = "*2\r\n" + bulk("pong") + bulk(args[0])
		case subscribed:
			reply = "*2\r\n" + bulk("pong") + bulk("")
		case len(args) > 0:
			reply = bulk(args[0])
		default:
			reply = "+PONG\r\n"
		}
	case "ECHO":
		reply = bulk(args[0])
	case "HELLO":
		s.proto, _ = strconv.Atoi(args[0])
		reply = said
	case "RESET":
		mo.unsubscribeAll(s)
		s.proto, s.off = 2, false
		reply = "+RESET\r\n"
	case "QUIT":
		s.gone = true
		reply = "+OK\r\n"
	case "CLIENT REPLY":
		switch args[0] {
		case "ON":
			s.off, s.skip = false, 0
			reply = "+OK\r\n"
		case "OFF":
			s.off = true
		case "SKIP":
			if !s.off {
				s.skip = 2
			}
		}
	case "CLIENT KILL":
		id, _ := strconv.ParseUint(args[1], 10, 64)
		target := mo.sessions[id]
		if target.gone || target == s {
			reply = integer(0)
			break
		}
		target.gone, target.killed = true, true
		reply = integer(1)
	case "SUBSCRIBE", "PSUBSCRIBE":
		kind := kindOf(name)
		for _, text := range args {
			mo.subscribe(s, kind, text)
			s.push(bulk(strings.ToLower(name)), bulk(text), integer(mo.count(s, bus.Channel, bus.Pattern)))
		}
	case "UNSUBSCRIBE", "PUNSUBSCRIBE":
		kind := kindOf(name)
		if len(args) == 0 {
			args = mo.texts(s, kind)
		}
		for _, text := range args {
			mo.unsubscribe(s, kind, text)
			s.push(bulk(strings.ToLower(name)), bulk(text), integer(mo.count(s, bus.Channel, bus.Pattern)))
		}
		if len(args) == 0 {
			null := "$-1\r\n"
			if s.proto == 3 {
				null = "_\r\n"
			}
			s.push(bulk(strings.ToLower(name)), null, integer(mo.count(s, bus.Channel, bus.Pattern)))
		}
	case "BUS.SUB":
		mo.subscribe(s, bus.Filter, args[0])
		reply = integer(mo.count(s, bus.Filter))
	case "BUS.UNSUB":
		if len(args) == 0 {
			for _, text := range mo.texts(s, bus.Filter) {
				mo.unsubscribe(s, bus.Filter, text)
			}
		} else if !mo.unsubscribe(s, bus.Filter, args[0]) {
			reply = fmt.Sprintf("-NOTFOUND this connection is not subscribed to %q\r\n", args[0])
			break
		}
		reply = integer(mo.count(s, bus.Filter))
	case "PUBLISH":
		reply = integer(mo.publish(s, args[0], args[1], now))
	case "BUS.PUB":
		if err := bus.CheckTopic(args[0]); err != nil {
			reply = fmt.Sprintf("-BADNAME %v\r\n", err)
			break
		}
		n := mo.publish(s, args[0], args[1], now)
		reply = s.head("%", 3) + bulk("seq") + integer(mo.seq) + bulk("delivered") + integer(n) + bulk("dropped") + integer(0)
	default:
		panic("the model does not know " + name)
	}
	if !s.off && s.skip != 1 {
		s.out.WriteString(reply)
	}
	s.skip = max(s.skip-1, 0)
}

func kindOf(command string) bus.Kind {
	if strings.HasPrefix(command, "P") {
		return bus.Pattern
	}
	return bus.Channel
}

func (mo *model) route(k bus.Kind, text string) *modelRoute {
	for _, r := range mo.routes {
		if r.kind == k && r.text == text {
			return r
		}
	}
	return nil
}

func (mo *model) subscribe(s *modelSession, k bus.Kind, text string) {
	r := mo.route(k, text)
	if r == nil {
		r = &modelRoute{kind: k, text: text}
		mo.routes = append(mo.routes, r)
	}
	if !slices.Contains(r.subs, s) {
		r.subs = append(r.subs, s)
		s.subs = append(s.subs, modelSub{k, text})
	}
}

func (mo *model) unsubscribe(s *modelSession, k bus.Kind, text string) bool {
	r := mo.route(k, text)
	if r == nil || !slices.Contains(r.subs, s) {
		return false
	}
	r.subs = slices.DeleteFunc(r.subs, func(o *modelSession) bool { return o == s })
	s.subs = slices.DeleteFunc(s.subs, func(o modelSub) bool { return o == modelSub{k, text} })
	if len(r.subs) == 0 {
		mo.routes = slices.DeleteFunc(mo.routes, func(o *modelRoute) bool { return o == r })
	}
	return true
}

// bury is what the server does at the end of a turn: routes of sessions that are gone go, too, which decides about the
// age of a route that is made again.
func (mo *model) bury(gone func(id uint64) bool) {
	for _, s := range mo.sessions {
		if s.gone && gone(s.id) {
			mo.unsubscribeAll(s)
		}
	}
}

func (mo *model) unsubscribeAll(s *modelSession) {
	for _, sub := range slices.Clone(s.subs) {
		mo.unsubscribe(s, sub.kind, sub.text)
	}
}

func (mo *model) count(s *modelSession, kinds ...bus.Kind) int {
	n := 0
	for _, sub := range s.subs {
		if slices.Contains(kinds, sub.kind) {
			n++
		}
	}
	return n
}

func (mo *model) texts(s *modelSession, k bus.Kind) []string {
	var texts []string
	for _, sub := range s.subs {
		if sub.kind == k {
			texts = append(texts, sub.text)
		}
	}
	return texts
}

// modelFilter is the filter that a pattern is: all that this model is asked for that begin with ipcd/ are.
func modelFilter(pattern string) string {
	return strings.TrimPrefix(strings.TrimPrefix(pattern, "ipcd/filter/"), "ipcd/filter-json/")
}

func matches(filter, topic string) bool {
	return bus.CheckTopic(topic) == nil && bus.Match(filter, topic)
}

func (mo *model) envelope(from *modelSession, r *modelRoute, topic, payload string, now time.Time) string {
	b, err := json.Marshal(struct {
		Topic   string `json:"topic"`
		Seq     int    `json:"seq"`
		Count   int    `json:"count"`
		Time    string `json:"time"`
		PID     int    `json:"pid"`
		UID     int    `json:"uid"`
		Unit    string `json:"unit"`
		Payload string `json:"payload"`
	}{topic, mo.seq, r.count, now.UTC().Format("2006-01-02T15:04:05.000000Z"), os.Getpid(), os.Getuid(), from.unit, payload})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (mo *model) publish(from *modelSession, topic, payload string, now time.Time) (delivered int) {
	mo.seq++
	// The channel, the patterns, the filter that is the topic itself, other filters; each by age.
	rank := func(r *modelRoute) int {
		switch {
		case r.kind == bus.Channel && r.text == topic:
			return 1
		case r.kind == bus.Pattern && strings.HasPrefix(r.text, "ipcd/"):
			if matches(modelFilter(r.text), topic) {
				return 2
			}
		case r.kind == bus.Pattern && bus.CompileGlob(r.text).MatchString(topic):
			return 2
		case r.kind == bus.Filter && r.text == topic && matches(topic, topic):
			return 3
		case r.kind == bus.Filter && matches(r.text, topic):
			return 4
		}
		return 0
	}
	for want := 1; want <= 4; want++ {
		for _, r := range mo.routes {
			if rank(r) != want {
				continue
			}
			r.count++
			for _, s := range r.subs {
				if s.gone {
					continue
				}
				delivered++
				switch r.kind {
				case bus.Channel:
					s.push(bulk("message"), bulk(topic), bulk(payload))
				case bus.Pattern:
					if strings.HasPrefix(r.text, "ipcd/filter-json/") {
						s.push(bulk("pmessage"), bulk(r.text), bulk(topic), bulk(mo.envelope(from, r, topic, payload, now)))
						break
					}
					s.push(bulk("pmessage"), bulk(r.text), bulk(topic), bulk(payload))
				case bus.Filter:
					s.push(bulk("bus.message"), bulk(r.text), bulk(topic), bulk(payload), integer(mo.seq), integer(int(now.UnixMicro())),
						integer(os.Getpid()), integer(os.Getuid()), bulk(from.unit), integer(r.count))
				}
			}
		}
	}
	return delivered
}
