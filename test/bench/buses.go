package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// amongFilters is fan-out to one subscriber, by a filter, of messages with many topics in turn, while another client has so many
// other filters beside it, of which none matches.
func amongFilters(others int) scenario {
	const topics, ahead = 16, 64 // messages in one write, and on the way: the server is never without work
	topic := func(i int) string { return fmt.Sprintf("bench/t/%02d", i) }
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		p := s.protocol()
		c := s.connect(3)
		keep(c...)
		publisher, subscriber, other := c[0], c[1], c[2]
		prefixes := make([]string, others)
		for i := range prefixes {
			prefixes[i] = fmt.Sprintf("bench/o%06d", i)
		}
		for len(prefixes) > 0 {
			n := min(len(prefixes), 1000)
			p.below(other, prefixes[:n]...)
			prefixes = prefixes[n:]
		}
		p.below(subscriber, "bench/t")
		a := begin(s, publisher, []*conn{subscriber}, topic(0), payload(64))
		a.request = nil
		for i := range topics {
			a.request = append(a.request, p.publish(topic(i), payload(64))...)
		}
		return func(d time.Duration) sample {
			a.reset()
			n := 0
			start := time.Now()
			for n == 0 || time.Since(start) < d {
				publisher.send(a.request)
				n += topics
				a.await(n - ahead)
			}
			a.await(n)
			return perOp(time.Since(start), n)
		}
	}
}

// largeMessages is fan-out of messages that do not fit into a socket. The value is bytes by time.
func largeMessages(listeners, size int) scenario {
	messages := fanOut(listeners, size, 1)
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		turn := messages(s, keep)
		return func(d time.Duration) sample {
			x := turn(d)
			x.value *= float64(size)
			return x
		}
	}
}

// retainedValue reads the value of a topic. MQTT has no other way than to subscribe again, and again.
func retainedValue(s *server, keep func(...*conn)) func(time.Duration) sample {
	const topic = "bench/value"
	c := s.connect(1)[0]
	keep(c)
	retain(s, c, topic)
	var request []byte
	switch s.kind {
	case ipcdServer:
		request = command("BUS.GET", topic)
	case redisServer:
		request = command("GET", topic)
	case mosquittoServer:
		request = mqttSubscription(topic)
	}
	c.send(request)
	answer := 0
	for seen := ""; !strings.Contains(seen, payload(64)); answer = len(seen) {
		seen += string(c.reply())
	}
	c.got = 0
	return func(d time.Duration) sample {
		n := 0
		begun := c.got
		start := time.Now()
		for ; n == 0 || time.Since(start) < d; n++ {
			c.send(request)
			c.await(begun + (n+1)*answer)
		}
		return perOp(time.Since(start), n)
	}
}

// retain publishes a value that stays.
func retain(s *server, c *conn, topic string) {
	switch s.kind {
	case ipcdServer:
		c.ask("BUS.PUB", topic, payload(64), "RETAIN")
	case redisServer:
		c.ask("SET", topic, payload(64))
	case mosquittoServer:
		packet := s.protocol().publish(topic, payload(64))
		packet[0] |= mqttRetain
		c.send(append(packet, s.protocol().echo()...))
		c.exactly(2)
	}
}

// subscribeToValues is a subscription that begins with the values of so many topics. Redis has none: there it is MGET, which is
// told all the names.
func subscribeToValues(values int) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		c := s.connect(1)[0]
		keep(c)
		words := []string{"MGET"}
		for i := range values {
			topic := fmt.Sprintf("bench/value/%06d", i)
			retain(s, c, topic)
			words = append(words, topic)
		}
		request, end, behind := command(words...), []byte(nil), "\r\n"
		switch s.kind {
		case ipcdServer:
			request, end, behind = command("BUS.SUB", "bench/value/#", "RAW"), command("BUS.UNSUB", "bench/value/#"), "$8\r\nretained\r\n:1\r\n"
		case mosquittoServer:
			request, behind = mqttSubscription("bench/value/#"), ""
		}
		c.send(request) // the first time tells how many bytes there are
		answer := 0
		for range values {
			answer += c.through(payload(64))
		}
		answer += c.through(behind)
		finish := func() {
			if end != nil {
				c.send(end)
				c.reply()
			}
		}
		finish()
		return func(d time.Duration) sample {
			n := 0
			start := time.Now()
			for ; n == 0 || time.Since(start) < d; n++ {
				c.send(request)
				c.pass(answer)
				finish()
			}
			return perOp(time.Since(start), n)
		}
	}
}

// A partner is a process beside driver and server.
type partner struct{ cmd *exec.Cmd }

// startPartner starts this program with other words, and returns when it says that it is ready.
func startPartner(words ...string) (*partner, error) {
	cmd := exec.Command("/proc/self/exe", words...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	var line [6]byte
	if _, err := out.Read(line[:]); err != nil {
		_ = cmd.Wait()
		return nil, fmt.Errorf("the partner did not begin: %w", err)
	}
	return &partner{cmd}, nil
}

// pause stops the process by SIGSTOP, and returns when it has stopped.
func (p *partner) pause() {
	must(p.cmd.Process.Signal(unix.SIGSTOP))
	var status unix.WaitStatus
	for !status.Stopped() {
		_, err := unix.Wait4(p.cmd.Process.Pid, &status, unix.WUNTRACED, nil)
		if err != unix.EINTR {
			must(err)
		}
	}
}

func (p *partner) end() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// serveWith is serve for a scenario with a process beside the driver, on the driver's CPUs.
func (b *bench) serveWith(name, kind string, aim target, sc func(s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample) contender {
	var all []*partner
	c := b.serve(kind, func(s *server, keep func(...*conn)) func(time.Duration) sample {
		return sc(s, keep, func(p *partner) { all = append(all, p) })
	}, aim)
	c.name = name
	open := c.open
	c.open = func(p place) (*subject, error) {
		s, err := open(p)
		end := func() {
			for _, p := range all {
				p.end()
			}
		}
		if err != nil {
			end()
			return nil, err
		}
		stop := s.close
		s.close = func() {
			end()
			stop()
		}
		return s, nil
	}
	return c
}

// Topics of a request and of its reply, for those who have no other requests: there and back by publish and subscribe.
const askTopic, replyTopic = "bench/ask", "bench/reply"

// request asks another process and waits for its reply, by publishing there and back.
func request(s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample {
	return askBack("responder", requestConns)(s, keep, with)
}

// requestAnswered is request as by ordinary clients, which wait for the answer of each command: in Redis's protocol that is one more for each
// message.
func requestAnswered(s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample {
	return askBack("answered-responder", answeredConns)(s, keep, with)
}

func askBack(responder string, conns func(*server) publishing) func(*server, func(...*conn), func(*partner)) func(time.Duration) sample {
	return func(s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample {
		out := conns(s)
		in := out.in
		keep(out.conn, in)
		p, err := startPartner(responder, s.kind, s.path)
		must(err)
		with(p)
		ask := s.protocol().publish(askTopic, payload(64))
		if p, ok := s.protocol().(caller); ok {
			ask = p.call(payload(64))
		} else {
			s.protocol().subscribe(in, replyTopic)
		}
		out.publish(ask)
		size := len(in.until(payload(64) + s.protocol().tail()))
		n := 0
		return latencies(func() time.Duration {
			n++
			start := time.Now()
			out.publish(ask)
			in.await(n * size)
			return time.Since(start)
		})
	}
}

// A publishing is where to publish and where to subscribe. In Redis's protocol these are two connections.
type publishing struct {
	*conn
	in       *conn
	answered bool // what is published has an answer
}

// publish publishes a message, and waits for the answer, if there is one.
func (p publishing) publish(message []byte) {
	p.send(message)
	if p.answered {
		p.skip()
	}
}

// requestConns are connections without answers, or one of them would wake up who waits for a message.
func requestConns(s *server) publishing {
	p := answeredConns(s)
	if p.answered {
		p.send(command("CLIENT", "REPLY", "OFF"))
		p.answered = false
	}
	return p
}

// answeredConns are those with answers, if there are any in the protocol.
func answeredConns(s *server) publishing {
	if _, ok := s.protocol().(resp); !ok {
		c := s.connect(1)[0]
		c.both = true
		return publishing{c, c, false}
	}
	c := s.connect(2)
	return publishing{c[0], c[1], true}
}

// respond is the responding process.
func respond(kind, path string, conns func(*server) publishing) (err error) {
	defer recoverInto(&err)
	s := &server{kind: kind, path: path}
	out := conns(s)
	in := out.in
	reply := s.protocol().publish(replyTopic, payload(64))
	called, calls := s.protocol().(caller)
	if calls {
		called.beResponder(in)
	} else {
		s.protocol().subscribe(in, askTopic)
	}
	in.idle = true
	fmt.Println("ready")
	first := in.until(payload(64) + s.protocol().tail())
	if calls {
		reply = called.answer([]byte(first), payload(64))
	}
	for n := 1; ; n++ {
		out.publish(reply)
		in.await(n * len(first))
	}
}

// recoverInto makes a failure an error.
func recoverInto(err *error) {
	switch f := recover().(type) {
	case nil:
	case failure:
		*err = f
	default:
		panic(f)
	}
}

// oneStopped is one message until the publisher knows that it was published, or until the last of all subscribers but one has it. That
// one is a process of its own. If stopped, it has been stopped by SIGSTOP, and more has been published to it alone than a server
// keeps for a subscriber; if not, it takes what comes. The value is what all but one in a hundred stay below.
func oneStopped(publisher, stopped bool) func(*server, func(...*conn), func(*partner)) func(time.Duration) sample {
	return func(s *server, keep func(...*conn), with func(*partner)) func(time.Duration) sample {
		p, err := startPartner("listener", s.kind, s.path)
		must(err)
		with(p)
		a := newAudience(s, keep, 63, 1024)
		if stopped {
			p.pause()
		}
		answer := a.reply
		publish := func(topic, payload string) []byte {
			b := s.protocol().publish(topic, payload)
			if !s.protocol().answers() {
				b = append(b, s.protocol().echo()...)
			}
			return b
		}
		if !s.protocol().answers() {
			a.publisher.send(s.protocol().echo())
			answer = len(a.publisher.reply())
		}
		flood, request := publish("bench/flood", payload(64<<10)), publish("bench/topic", payload(1024))
		for range 256 {
			a.publisher.send(flood)
			a.publisher.reply()
		}
		a.reset()
		n := 0
		answered := func() { a.publisher.await(n * answer) }
		received := func() {
			for _, l := range a.listeners {
				l.await(n * a.size)
			}
		}
		timed, other := received, answered
		if publisher {
			timed, other = answered, received
		}
		return quantile(.99, func() time.Duration {
			n++
			start := time.Now()
			a.publisher.send(request)
			timed()
			took := time.Since(start)
			other()
			return took
		})
	}
}

// listenFor is the process that is stopped. In ipcd it subscribes as one who is told what it misses, and is not disconnected.
func listenFor(kind, path string) (err error) {
	defer recoverInto(&err)
	s := &server{kind: kind, path: path}
	c := s.connect(1)[0]
	if kind == ipcdServer {
		c.ask("BUS.SUB", "bench/#", "RAW")
	} else {
		s.protocol().below(c, "bench")
	}
	c.idle = true
	fmt.Println("ready")
	for {
		c.receive(inbox[:], 0)
	}
}
