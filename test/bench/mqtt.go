package main

import "encoding/binary"

// mqtt is MQTT 3.1.1 at QoS 0: what is published has no answer.
type mqtt struct{}

// The first bytes of packets.
const (
	mqttConnect   = 0x10
	mqttPublish   = 0x30
	mqttRetain    = 0x01 // in mqttPublish
	mqttSubscribe = 0x82
	mqttPing      = 0xc0
)

// mqttPacket is a packet of a kind.
func mqttPacket(kind byte, body []byte) []byte {
	b := []byte{kind}
	for n := len(body); ; {
		low := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(append(b, low), body...)
		}
		b = append(b, low|0x80)
	}
}

func mqttString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func (mqtt) hello(c *conn) {
	body := append(mqttString(nil, "MQTT"), 4, 2, 0, 0) // version, clean session, keepalive for ever
	c.send(mqttPacket(mqttConnect, mqttString(body, "")))
	if ack := c.exactly(4); ack[3] != 0 {
		fail("the server refuses the connection with code %d", ack[3])
	}
}

func (mqtt) echo() []byte { return mqttPacket(mqttPing, nil) }

func (mqtt) publish(topic, payload string) []byte {
	return mqttPacket(mqttPublish, append(mqttString(nil, topic), payload...))
}

func (mqtt) answers() bool { return false }

func (mqtt) tail() string { return "" }

func (mqtt) subscribe(c *conn, topic string) { mqttSubscribeTo(c, topic) }

func (mqtt) below(c *conn, prefixes ...string) {
	var filters []string
	for _, prefix := range prefixes {
		filters = append(filters, prefix+"/#")
	}
	mqttSubscribeTo(c, filters...)
}

func mqttSubscribeTo(c *conn, filters ...string) {
	c.send(mqttSubscription(filters...))
	c.pass(len(mqttPacket(0, make([]byte, 2+len(filters))))) // SUBACK: the packet's number, a code for each
}

// mqttSubscription is a packet that subscribes to filters. It is answered by a packet of five bytes if there is one filter.
func mqttSubscription(filters ...string) []byte {
	body := []byte{0, 1} // the packet's number
	for _, f := range filters {
		body = append(mqttString(body, f), 0)
	}
	return mqttPacket(mqttSubscribe, body)
}
