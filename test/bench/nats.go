package main

import (
	"fmt"
	"strings"
)

// nats is the protocol of NATS: lines of text, over TCP as its server has nothing else. Levels of subjects are split by dots.
type nats struct{}

// hello begins a connection without a confirmation of each command. A server asks for a PONG, to know how far away a client is: some
// after the first PING, some after two seconds, where it would be counted as a part of a message. So it has one before it asks.
func (nats) hello(c *conn) {
	c.through("\r\n") // INFO
	c.send([]byte("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"lang\":\"bench\"}\r\nPING\r\n"))
	c.through("PONG\r\n")
	c.send([]byte("PONG\r\nPING\r\n"))
	c.through("PONG\r\n")
}

func (nats) echo() []byte { return []byte("PING\r\n") }

func (nats) publish(topic, payload string) []byte {
	return fmt.Appendf(nil, "PUB %s %d\r\n%s\r\n", natsSubject(topic), len(payload), payload)
}

func (nats) answers() bool { return false }

func (nats) tail() string { return "\r\n" }

func (nats) subscribe(c *conn, topic string) { natsSubscribe(c, natsSubject(topic)) }

func (nats) below(c *conn, prefixes ...string) {
	var subjects []string
	for _, prefix := range prefixes {
		subjects = append(subjects, natsSubject(prefix)+".>")
	}
	natsSubscribe(c, subjects...)
}

func natsSubscribe(c *conn, subjects ...string) {
	var b []byte
	for i, s := range subjects {
		b = fmt.Appendf(b, "SUB %s %d\r\n", s, i+1)
	}
	c.send(append(b, nats{}.echo()...))
	c.until("PONG\r\n")
}

func natsSubject(topic string) string { return strings.ReplaceAll(topic, "/", ".") }
