package main

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// sharing publishes as fanOut does, to a group of so many members: each message is one's, nobody knows whose. So messages are counted by a
// byte that each has once, at whoever has something.
func sharing(members, size, batch int) scenario {
	const topic, mark = "bench/shared", "\x01"
	ahead := min(512, (128<<10)/size) // messages
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		all := s.connect(1 + members)
		keep(all...)
		publisher, group := all[0], all[1:]
		ready := make([]unix.PollFd, members)
		for i, c := range group {
			share(s, c, topic)
			ready[i] = unix.PollFd{Fd: int32(c.fd), Events: unix.POLLIN}
		}
		p := s.protocol()
		one := p.publish(topic, mark+payload(size-1))
		request := bytes.Repeat(one, batch)
		got, reply := 0, 0
		await := func(n int) {
			for got < n {
				if k, err := unix.Poll(ready, int(patience.Milliseconds())); err != nil && err != unix.EINTR {
					fail("cannot wait: %w", err)
				} else if k == 0 {
					fail("no message within %v", patience)
				}
				for i, c := range group {
					if ready[i].Revents != 0 {
						got += bytes.Count(inbox[:c.receive(inbox[:], unix.MSG_DONTWAIT)], []byte(mark))
					}
				}
			}
			publisher.await(n * reply)
		}
		publisher.send(one)
		if p.answers() {
			reply = len(publisher.reply())
			publisher.got = reply
		}
		await(1)
		return func(d time.Duration) sample {
			got, publisher.got = 0, 0
			sent := 0
			start := time.Now()
			for sent == 0 || time.Since(start) < d {
				publisher.send(request)
				sent += batch
				await(sent - ahead)
			}
			await(sent)
			return perSecond(time.Since(start), sent)
		}
	}
}

// share makes a connection a member of the group that shares a topic.
func share(s *server, c *conn, topic string) {
	switch s.kind {
	case ipcdServer:
		c.ask("BUS.SUB", topic, "GROUP", "bench", "RAW")
	case natsServer:
		c.send(fmt.Appendf(nil, "SUB %s bench 1\r\n%s", natsSubject(topic), nats{}.echo()))
		c.until("PONG\r\n")
	case mosquittoServer:
		mqttSubscribeTo(c, "$share/bench/"+topic)
	}
}
