package main

import (
	"bytes"
	"fmt"
	"time"
)

// busRequest asks another process by BUS.REQ, whose reply is the answer. That one has no replies to its own commands, or one of them would
// wake it up for nothing.
func busRequest(s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample {
	return askByCommand("bus-responder", s, keep, with)
}

// busRequestAnswered is busRequest where the responder takes the answers to its commands.
func busRequestAnswered(s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample {
	return askByCommand("answered-bus-responder", s, keep, with)
}

func askByCommand(responder string, s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample {
	c := s.connect(1)[0]
	c.both = true
	keep(c)
	p, err := startPartner(responder, s.kind, s.path)
	must(err)
	with(p)
	ask := command("BUS.REQ", askTopic, payload(64))
	c.send(ask)
	size := len(c.until(payload(64) + "\r\n"))
	n := 0
	return latencies(func() time.Duration {
		n++
		start := time.Now()
		c.send(ask)
		c.await(n * size)
		return time.Since(start)
	})
}

// respondByCommand is the responding process.
func respondByCommand(kind, path string, quiet bool) (err error) {
	defer recoverInto(&err)
	s := &server{kind: kind, path: path}
	c := s.connect(1)[0]
	c.ask("HELLO", "3")
	c.ask("BUS.SERVE", askTopic)
	if quiet {
		c.send(command("CLIENT", "REPLY", "OFF"))
	}
	c.idle, c.both = true, true
	fmt.Println("ready")
	const head, end = "bus.request\r\n:", "\r\n:0\r\n" // before the number of a request, and the deadline, which it has none
	answer := "$64\r\n" + payload(64) + "\r\n"
	var seen, reply []byte
	for {
		for seen = seen[:0]; !bytes.HasSuffix(seen, []byte(end)); { // before it is what the last answer was answered
			seen = append(seen, c.reply()...)
		}
		_, id, _ := bytes.Cut(seen, []byte(head))
		id, _, _ = bytes.Cut(id, []byte("\r\n"))
		reply = append(append(reply[:0], "*3\r\n$9\r\nBUS.REPLY\r\n$"...), '0'+byte(len(id)/10), '0'+byte(len(id)%10))
		reply = append(append(append(append(reply, "\r\n"...), id...), "\r\n"...), answer...)
		c.send(reply)
	}
}

// withHeaders is one message with so many headers until the one who gets it has it: it comes in one piece.
func withHeaders(headers int) scenario {
	const topic, value = "bench/topic", "the value of a header"
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		all := s.connect(2)
		keep(all...)
		publisher, listener := all[0], all[1]
		var request []byte
		if s.kind == natsServer {
			s.protocol().subscribe(listener, topic)
			text := "NATS/1.0\r\n"
			for i := range headers {
				text += fmt.Sprintf("header-%d: %s\r\n", i, value)
			}
			text += "\r\n"
			request = fmt.Appendf(nil, "HPUB %s %d %d\r\n%s%s\r\n", natsSubject(topic), len(text), len(text)+64, text, payload(64))
		} else {
			listener.ask("BUS.SUB", topic, "RAW")
			words := []string{"BUS.PUB", topic, payload(64)}
			for i := range headers {
				words = append(words, "HEADER", fmt.Sprintf("header-%d", i), value)
			}
			request = command(words...)
		}
		return latencies(func() time.Duration {
			start := time.Now()
			publisher.send(request)
			listener.skip()
			took := time.Since(start)
			publisher.drain()
			return took
		})
	}
}

// valueAmong reads the value of a topic while so many others have one.
func valueAmong(others int) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		c := s.connect(1)[0]
		keep(c)
		for done := 0; done < others; {
			n := min(others-done, 100)
			var batch []byte
			for i := range n {
				batch = append(batch, command("BUS.PUB", fmt.Sprintf("bench/other/%06d", done+i), payload(64), "RETAIN")...)
			}
			done += n
			c.send(append(batch, command("ECHO", "all of it")...))
			c.until("all of it\r\n")
		}
		return retainedValue(s, keep)
	}
}

// addRequests adds the rows of requests, headers and values.
func (b *bench) addRequests(add func(name string, p place, u unit, all ...contender)) {
	floor := target{most: 1.15}
	for _, p := range []place{same, free} {
		aims := map[string]target{}
		if p == same {
			aims = map[string]target{redisServer: {most: .7}, natsServer: {most: .55}}
		}
		all := []contender{
			b.serveWith(ipcdServer, ipcdServer, target{}, busRequest), b.serveWith(bareServer, bareServer, floor, busRequest),
			b.serveWith("PUBLISH there and back", ipcdServer, target{}, request),
		}
		for _, kind := range buses[1:] {
			if b.has(kind) {
				all = append(all, b.serveWith(kind, kind, aims[kind], request))
			}
		}
		add("request and reply (BUS.REQ), p50", p, microseconds, all...)
	}
	add("request and reply (BUS.REQ), each command answered, p50", same, microseconds,
		b.serveWith(ipcdServer, ipcdServer, target{}, busRequestAnswered), b.serveWith(bareServer, bareServer, floor, busRequestAnswered),
		b.serveWith("PUBLISH there and back", ipcdServer, target{}, requestAnswered), b.serveWith(redisServer, redisServer, target{most: .7}, requestAnswered))

	plain := b.serve(ipcdServer, withHeaders(0), target{})
	plain.name = "no headers"
	four := []contender{b.serve(ipcdServer, withHeaders(4), target{}), plain}
	if b.has(natsServer) {
		four = append(four, b.serve(natsServer, withHeaders(4), target{}))
	}
	add("message with 4 headers, p50", same, microseconds, four...)

	if !b.quick {
		few := b.serve(ipcdServer, valueAmong(1), target{most: 1.2})
		few.name = "1 other"
		add("value of a topic among 90,000 others", same, microseconds, b.serve(ipcdServer, valueAmong(90_000), target{}), few)
	}
}
