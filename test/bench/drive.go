package main

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// A scenario is what the driver does with a server. It sets things up and returns what a turn does: once at least, as on a busy machine a
// short turn may be over when it begins. What it opened is closed with the server.
type scenario func(s *server, keep func(...*conn)) (turn func(d time.Duration) sample)

// serve makes a contender of a kind of server and a scenario.
func (b *bench) serve(kind string, sc scenario, aim target) contender {
	return contender{name: kind, target: aim, open: func(p place) (*subject, error) {
		s, err := b.startServer(kind, p)
		if err != nil {
			return nil, err
		}
		var conns []*conn
		sub := &subject{cpu: s.cpu, close: func() {
			closeAll(conns)
			s.stop()
		}}
		defer func() {
			if sub.cell == nil { // the scenario could not begin
				sub.close()
			}
		}()
		sub.cell = sc(s, func(c ...*conn) { conns = append(conns, c...) })
		return sub, nil
	}}
}

// payload is text of a size.
func payload(size int) string { return strings.Repeat("x", size) }

// echo is a round trip that asks for nothing.
func echo(s *server, keep func(...*conn)) func(time.Duration) sample {
	return roundTrip(s.protocol().echo())(s, keep)
}

// roundTrip sends a command and waits for its reply, again and again. The value is the mean.
func roundTrip(request []byte) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		c := s.connect(1)
		keep(c...)
		return func(d time.Duration) sample {
			n := 0
			start := time.Now()
			for n == 0 || time.Since(start) < d {
				for range 16 { // so that looking at the clock costs nothing
					c[0].send(request)
					c[0].reply()
				}
				n += 16
			}
			return perOp(time.Since(start), n)
		}
	}
}

func perOp(d time.Duration, n int) sample { return sample{value: d.Seconds() / float64(n), ops: n} }

func perSecond(d time.Duration, n int) sample { return sample{value: float64(n) / d.Seconds(), ops: n} }

// throughput has many clients, each with as many commands under way as the pipeline says. The driver takes their
// replies in a circle and sends again at once: no epoll, so it costs less than the server, and no client waits for
// another as long as the server serves them in turn.
func throughput(clients, pipeline int, request []byte) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		all := dialAll(s.path, clients)
		keep(all...)
		batch := bytes.Repeat(request, pipeline)
		all[0].send(request)
		answer := len(all[0].reply()) * pipeline
		return func(d time.Duration) sample {
			for _, c := range all {
				c.got = 0
				c.send(batch)
			}
			n, due := 0, 0
			start := time.Now()
			for n == 0 || time.Since(start) < d {
				due += answer
				for _, c := range all {
					c.await(due)
					c.send(batch)
				}
				n += clients * pipeline
			}
			took := time.Since(start)
			for _, c := range all {
				c.await(due + answer)
			}
			return perSecond(took, n)
		}
	}
}

// An audience is a publisher and those who get what it publishes.
type audience struct {
	publisher *conn
	listeners []*conn
	size      int // bytes of a delivered message
	reply     int // bytes of the publisher's reply
	request   []byte
}

func newAudience(s *server, keep func(...*conn), listeners, size int) *audience {
	const topic = "bench/topic"
	all := s.connect(1 + listeners)
	keep(all...)
	for _, l := range all[1:] {
		s.protocol().subscribe(l, topic)
	}
	return begin(s, all[0], all[1:], topic, payload(size))
}

// begin publishes a first message to those who have subscribed, and learns from it how many bytes there are to count.
func begin(s *server, publisher *conn, listeners []*conn, topic, payload string) *audience {
	p := s.protocol()
	a := &audience{publisher: publisher, listeners: listeners, request: p.publish(topic, payload)}
	a.publisher.send(a.request)
	if p.answers() {
		a.reply = len(a.publisher.reply())
	}
	for _, l := range a.listeners {
		got := len(l.until(payload + p.tail()))
		if a.size != 0 && got != a.size {
			fail("one subscriber got %d bytes, another one %d", a.size, got)
		}
		a.size = got
	}
	return a
}

// await waits until everybody has had n messages and the publisher its replies.
func (a *audience) await(n int) {
	for _, l := range a.listeners {
		l.await(n * a.size)
	}
	a.publisher.await(n * a.reply)
}

func (a *audience) reset() {
	a.publisher.got = 0
	for _, l := range a.listeners {
		l.got = 0
	}
}

// fanOut publishes in writes of so many messages each and counts what arrives at the subscribers. So much is under way
// that the server is never without work, and no socket's buffer is ever full.
func fanOut(listeners, size, batch int) scenario {
	ahead := min(512, (128<<10)/size) // messages
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		a := newAudience(s, keep, listeners, size)
		request := bytes.Repeat(a.request, batch)
		return func(d time.Duration) sample {
			a.reset()
			sent := 0
			start := time.Now()
			for sent == 0 || time.Since(start) < d {
				a.publisher.send(request)
				sent += batch
				a.await(sent - ahead)
			}
			a.await(sent)
			return perSecond(time.Since(start), sent*listeners)
		}
	}
}

// untilLast publishes one message and waits until every subscriber has it.
func untilLast(listeners int) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		a := newAudience(s, keep, listeners, 64)
		n := 0
		return latencies(func() time.Duration {
			n++
			start := time.Now()
			a.publisher.send(a.request)
			for _, l := range a.listeners {
				l.await(n * a.size)
			}
			took := time.Since(start)
			a.publisher.await(n * a.reply)
			return took
		})
	}
}

// latencies repeats an operation that times itself. The value is the median.
func latencies(op func() time.Duration) func(time.Duration) sample { return quantile(.5, op) }

// quantile is latencies with another value: .99 is what all but one in a hundred stay below.
func quantile(q float64, op func() time.Duration) func(time.Duration) sample {
	return func(d time.Duration) sample {
		var all []time.Duration
		for start := time.Now(); len(all) == 0 || time.Since(start) < d; {
			all = append(all, op())
		}
		slices.Sort(all)
		return sample{value: all[int(float64(len(all)-1)*q)].Seconds(), ops: len(all)}
	}
}
