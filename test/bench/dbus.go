package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strconv"
)

// dbus is D-Bus. A topic is the path of an object whose signal carries the payload as bytes, and a subscription is a match rule.
type dbus struct{}

// Kinds of messages, and codes of the fields of their headers.
const (
	dbusCall   = 1
	dbusReturn = 2
	dbusSignal = 4

	dbusPath        = 1
	dbusInterface   = 2
	dbusMember      = 3
	dbusReplySerial = 5
	dbusDestination = 6
	dbusSender      = 7
	dbusSignature   = 8
	dbusDescriptors = 9
)

// theBus is the name of the bus itself, and of the interface of its methods.
const theBus = "org.freedesktop.DBus"

// dbusSerial is the number of all messages: none is sent before there is an answer to the last one that has an answer.
const dbusSerial = 1

// A marshaller writes values as D-Bus does, each aligned to its size.
type marshaller struct{ b []byte }

func (m *marshaller) align(n int) {
	for len(m.b)%n != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *marshaller) uint32(v uint32) {
	m.align(4)
	m.b = binary.LittleEndian.AppendUint32(m.b, v)
}

func (m *marshaller) uint64(v uint64) {
	m.align(8)
	m.b = binary.LittleEndian.AppendUint64(m.b, v)
}

func (m *marshaller) string(s string) {
	m.uint32(uint32(len(s)))
	m.b = append(append(m.b, s...), 0)
}

func (m *marshaller) signature(s string) { m.b = append(append(append(m.b, byte(len(s))), s...), 0) }

// structs writes an array of structs, for as many as write says.
func (m *marshaller) structs(write ...func()) {
	m.uint32(0)
	at := len(m.b)
	m.align(8)
	begin := len(m.b)
	for _, w := range write {
		m.align(8)
		w()
	}
	binary.LittleEndian.PutUint32(m.b[at-4:], uint32(len(m.b)-begin))
}

// A field is one of a message's header: a string, or what else its type says.
type field struct {
	code  byte
	kind  string
	text  string
	value uint32
}

// dbusMessage encodes a message with a body of this signature.
func dbusMessage(kind byte, signature string, body []byte, fields ...field) []byte {
	var m marshaller
	flags := byte(0)
	if kind != dbusCall {
		flags = 1 // no reply is expected
	}
	m.b = append(m.b, 'l', kind, flags, 1)
	m.uint32(uint32(len(body)))
	m.uint32(dbusSerial)
	if signature != "" {
		fields = append(fields, field{code: dbusSignature, kind: "g", text: signature})
	}
	var write []func()
	for _, f := range fields {
		write = append(write, func() {
			m.b = append(m.b, f.code)
			m.signature(f.kind)
			switch f.kind {
			case "u":
				m.uint32(f.value)
			case "g":
				m.signature(f.text)
			default:
				m.string(f.text)
			}
		})
	}
	m.structs(write...)
	m.align(8)
	return append(m.b, body...)
}

// busCall is a call of a method of the bus, with strings and numbers.
func busCall(iface, member, signature string, args ...any) []byte {
	var body marshaller
	for _, a := range args {
		switch a := a.(type) {
		case string:
			body.string(a)
		case uint32:
			body.uint32(a)
		}
	}
	return dbusMessage(dbusCall, signature, body.b,
		field{code: dbusPath, kind: "o", text: "/org/freedesktop/DBus"},
		field{code: dbusInterface, kind: "s", text: iface},
		field{code: dbusMember, kind: "s", text: member},
		field{code: dbusDestination, kind: "s", text: theBus})
}

// passMessage waits for one message, and fails if it is an error.
func passMessage(c *conn) {
	header := c.exactly(16)
	body, fields := binary.LittleEndian.Uint32(header[4:]), binary.LittleEndian.Uint32(header[12:])
	rest := c.exactly(int((fields+7)&^7 + body))
	if header[1] != dbusCall && header[1] != dbusReturn && header[1] != dbusSignal {
		fail("the server answers %q", rest)
	}
}

// bytesBody is a payload as an array of bytes.
func bytesBody(payload string) []byte {
	var m marshaller
	m.uint32(uint32(len(payload)))
	return append(m.b, payload...)
}

// authenticate says who we are, which the kernel confirms, and that descriptors may come, too.
func authenticate(c *conn) {
	c.send([]byte("\x00AUTH EXTERNAL " + hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid()))) + "\r\n"))
	c.until("\r\n")
	c.send([]byte("NEGOTIATE_UNIX_FD\r\n"))
	c.until("\r\n")
	c.send([]byte("BEGIN\r\n"))
}

func (dbus) hello(c *conn) {
	authenticate(c)
	c.send(busCall(theBus, "Hello", ""))
	passMessage(c) // the reply: our name
	passMessage(c) // a signal: we have acquired it
}

func (dbus) echo() []byte { return busCall(theBus+".Peer", "Ping", "") }

func (dbus) publish(topic, payload string) []byte {
	return dbusMessage(dbusSignal, "ay", bytesBody(payload),
		field{code: dbusPath, kind: "o", text: "/" + topic},
		field{code: dbusInterface, kind: "s", text: "bench.Topic"},
		field{code: dbusMember, kind: "s", text: "Message"})
}

func (dbus) answers() bool { return false }

func (dbus) tail() string { return "" }

func (dbus) subscribe(c *conn, topic string) { addMatches(c, "path='/"+topic+"'") }

func (dbus) below(c *conn, prefixes ...string) {
	var rules []string
	for _, prefix := range prefixes {
		rules = append(rules, "path_namespace='/"+prefix+"'")
	}
	addMatches(c, rules...)
}

func addMatches(c *conn, rules ...string) {
	var b []byte
	for _, r := range rules {
		b = append(b, busCall(theBus, "AddMatch", "s", "type='signal',interface='bench.Topic',"+r)...)
	}
	c.send(b)
	for range rules {
		passMessage(c)
	}
}

// responderName is the name that askers call.
const responderName = "bench.Responder"

// beResponder acquires the name.
func (dbus) beResponder(c *conn) {
	c.send(busCall(theBus, "RequestName", "su", responderName, uint32(0)))
	passMessage(c) // a signal and a reply
	passMessage(c)
}

// call is a request to the responder.
func (dbus) call(payload string) []byte {
	return dbusMessage(dbusCall, "ay", bytesBody(payload),
		field{code: dbusPath, kind: "o", text: "/bench"},
		field{code: dbusInterface, kind: "s", text: "bench.Topic"},
		field{code: dbusMember, kind: "s", text: "Ask"},
		field{code: dbusDestination, kind: "s", text: responderName})
}

// answer is the reply to a call, which names its sender.
func (dbus) answer(call []byte, payload string) []byte {
	_, rest, ok := bytes.Cut(call, []byte{dbusSender, 1, 's', 0})
	if !ok {
		fail("a call has no sender: %q", call)
	}
	n := binary.LittleEndian.Uint32(rest)
	return dbusMessage(dbusReturn, "ay", bytesBody(payload),
		field{code: dbusReplySerial, kind: "u", value: dbusSerial},
		field{code: dbusDestination, kind: "s", text: string(rest[4 : 4+n])})
}
