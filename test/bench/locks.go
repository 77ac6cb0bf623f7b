package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// lockPair takes a free lock and gives it back: in Redis, as its documentation says for one instance.
func lockPair(s *server, keep func(...*conn)) func(time.Duration) sample {
	c := dialAll(s.path, 1)[0]
	keep(c)
	take, give := command("SET", "bench/lock", "token", "NX", "PX", "30000"), command("DEL", "bench/lock")
	if s.kind == ipcdServer {
		take, give = command("LOCK.ACQUIRE", "bench/lock"), command("LOCK.RELEASE", "bench/lock")
	}
	return func(d time.Duration) sample {
		n := 0
		start := time.Now()
		for n == 0 || time.Since(start) < d {
			for range 8 {
				c.send(take)
				c.reply()
				c.send(give)
				c.reply()
			}
			n += 8
		}
		return perOp(time.Since(start), n)
	}
}

// crowd is many clients that take a lock and give it back, again and again: one lock of which only one can have it at a time, or
// one lock for each. In Redis a lock that is waited for is a list with one element, as BLPOP serves those who wait in
// their order.
func crowd(clients int, oneLock bool) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		all := dialAll(s.path, clients)
		keep(all...)
		words := crowdWords(s, oneLock)
		if s.kind == redisServer && oneLock {
			all[0].ask("RPUSH", "bench/lock", "token")
		}
		return func(d time.Duration) sample {
			for i, c := range all {
				c.send(words.take(i))
			}
			n := 0
			start := time.Now()
			for last := false; !last; n += clients {
				last = time.Since(start) >= d
				for i, c := range all { // in the order of asking
					grant := c.until(words.granted)
					switch {
					case !last && oneLock:
						c.send(append(words.give(i, grant), words.take(i)...))
					case !last:
						c.send(words.take(i))
					case oneLock:
						c.send(words.give(i, grant))
						c.until("\r\n")
					}
				}
			}
			return perSecond(time.Since(start), n)
		}
	}
}

// A dialect is how a server is asked for a lock.
type dialect struct {
	take    func(client int) []byte // with one lock for each client, it is given back in the same write
	give    func(client int, grant string) []byte
	granted string // ends the replies to a take
}

func crowdWords(s *server, oneLock bool) dialect {
	name := func(i int) string { return fmt.Sprintf("bench/lock%02d", i) }
	switch {
	case s.kind == redisServer && oneLock:
		return dialect{
			take:    func(int) []byte { return command("BLPOP", "bench/lock", "0") },
			give:    func(int, string) []byte { return command("RPUSH", "bench/lock", "token") },
			granted: "$5\r\ntoken\r\n",
		}
	case s.kind == redisServer:
		return dialect{
			take: func(i int) []byte {
				return append(command("SET", name(i), "token", "NX", "PX", "30000"), command("DEL", name(i))...)
			},
			granted: "+OK\r\n:1\r\n",
		}
	case oneLock:
		return dialect{
			take:    func(i int) []byte { return command("LOCK.ACQUIRE", "bench/lock", "OWNER", strconv.Itoa(i)) },
			give:    func(_ int, grant string) []byte { return releaseOf(grant) },
			granted: "abandoned\r\n$0\r\n\r\n",
		}
	}
	return dialect{
		take: func(i int) []byte {
			return append(command("LOCK.ACQUIRE", name(i)), command("LOCK.RELEASE", name(i))...)
		},
		granted: "$0\r\n\r\n+OK\r\n",
	}
}

// longQueue takes a lock from the head of a queue and joins its end: what a grant costs where so many wait.
func longQueue(waiting int) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		c := dialAll(s.path, 1)[0]
		keep(c)
		c.ask("HELLO", "3")
		next := 0
		ask := func() []byte {
			next++
			return command("LOCK.ACQUIRE", "bench/lock", "OWNER", strconv.Itoa(next), "ASYNC")
		}
		c.send(ask())
		grant := c.until("abandoned\r\n$0\r\n\r\n")
		for range waiting {
			c.send(ask())
			c.until("\r\n")
		}
		return func(d time.Duration) sample {
			n := 0
			start := time.Now()
			for ; n == 0 || time.Since(start) < d; n++ {
				c.send(append(ask(), releaseOf(grant)...))
				grant = c.until("abandoned\r\n$0\r\n\r\n")
			}
			return perOp(time.Since(start), n)
		}
	}
}

// handOff times from one client's release to the grant of the client that waits for it; then they change roles. A third
// connection's round trip makes sure that the wait has begun.
func handOff(q float64) scenario {
	return func(s *server, keep func(...*conn)) func(time.Duration) sample {
		return quantile(q, newHandOff(s, keep))
	}
}

func newHandOff(s *server, keep func(...*conn)) func() time.Duration {
	c := dialAll(s.path, 3)
	keep(c...)
	holder, waiter, third := c[0], c[1], c[2]
	ping := command("PING")
	take := func(c *conn) []byte {
		if s.kind == ipcdServer {
			return command("LOCK.ACQUIRE", "bench/lock", "OWNER", strconv.Itoa(c.fd))
		}
		return command("BLPOP", "bench/lock", "0")
	}
	takes := map[*conn][]byte{holder: take(holder), waiter: take(waiter)}
	give := command("RPUSH", "bench/lock", "token")
	if s.kind == ipcdServer {
		give = releaseOf(holder.ask("LOCK.ACQUIRE", "bench/lock", "OWNER", strconv.Itoa(holder.fd)))
	}
	return func() time.Duration {
		waiter.send(takes[waiter])
		third.send(ping)
		third.reply()
		start := time.Now()
		holder.send(give)
		grant := waiter.reply()
		took := time.Since(start)
		if s.kind == ipcdServer {
			give = releaseOf(string(grant))
		}
		holder.reply()
		holder, waiter = waiter, holder
		return took
	}
}

// releaseOf is the command that gives back what was granted.
func releaseOf(grant string) []byte {
	_, rest, _ := strings.Cut(grant, "$5\r\ntoken\r\n:")
	token, _, ok := strings.Cut(rest, "\r\n")
	if !ok {
		fail("no token in %q", grant)
	}
	return command("LOCK.RELEASE", "bench/lock", token)
}
