package main

import "strings"

// A protocol is how a server is spoken to, as far as all of them can do the same. What is sent is encoded beforehand, and what
// comes is counted in bytes: a message of the same topic and payload by the same sender always has as many.
type protocol interface {
	// hello begins a connection.
	hello(c *conn)
	// echo is a request that changes nothing and has one answer. Who has it knows that all that it sent before was carried out.
	echo() []byte
	// publish is a message as its publisher sends it.
	publish(topic, payload string) []byte
	// answers reports whether the publisher gets an answer to each message.
	answers() bool
	// subscribe asks for a topic, and returns when the subscription is in force.
	subscribe(c *conn, topic string)
	// below asks for all topics below each of the prefixes.
	below(c *conn, prefixes ...string)
	// tail is what follows the payload of a message at its end.
	tail() string
}

// A caller is a protocol that has requests of its own. In others they are messages there and back.
type caller interface {
	// beResponder has calls come to a connection, and returns when they do.
	beResponder(c *conn)
	// call is a request. Its answer comes on the same connection.
	call(payload string) []byte
	// answer is what a responder sends when this call has come.
	answer(call []byte, payload string) []byte
}

// protocols has those of all kinds of servers.
var protocols = map[string]protocol{
	ipcdServer:      resp{glob: func(prefix string) string { return "ipcd/filter/" + prefix + "/#" }},
	redisServer:     resp{glob: func(prefix string) string { return prefix + "/*" }},
	rawServer:       resp{},
	bareServer:      resp{},
	natsServer:      nats{},
	mosquittoServer: mqtt{},
	dbusDaemon:      dbus{},
	dbusBroker:      dbus{},
}

func (s *server) protocol() protocol { return protocols[s.kind] }

// connect opens n connections on which more than commands of Redis may be sent.
func (s *server) connect(n int) []*conn {
	all := dialAll(s.path, n)
	for _, c := range all {
		s.protocol().hello(c)
	}
	return all
}

// resp is Redis's protocol, version 2.
type resp struct {
	glob func(prefix string) string // how a pattern is asked for that matches all below a prefix
}

func (resp) hello(*conn) {}

func (resp) echo() []byte { return command("PING") }

func (resp) publish(topic, payload string) []byte { return command("PUBLISH", topic, payload) }

func (resp) answers() bool { return true }

func (resp) tail() string { return "\r\n" }

func (resp) subscribe(c *conn, topic string) { c.ask("SUBSCRIBE", topic) }

func (p resp) below(c *conn, prefixes ...string) {
	words := []string{"PSUBSCRIBE"}
	for _, prefix := range prefixes {
		words = append(words, p.glob(prefix))
	}
	c.send(command(words...))
	for replies := 0; replies < len(prefixes); {
		replies += strings.Count(c.until("\r\n"), "$10\r\npsubscribe\r\n")
	}
}
