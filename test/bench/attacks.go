package main

import (
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// An attack is what another user does to the server for as long as an innocent client is measured. It sets up, calls ready, and
// goes on until it is killed.
type attack func(path string, ready func())

var attacks = map[string]attack{
	"0 attackers":                                    func(_ string, ready func()) { ready(); _ = unix.Pause() }, // what the machine does by itself
	"9,900 holds that end with a connection":         holds,
	"90,000 channels, listed":                        channels,
	"messages to 9,000 connections":                  fanOutAttack,
	"5,000 waiters that come and go":                 waiters,
	"1,000 connections that send byte by byte":       slowly,
	"10,000 locks of long names, listed":             longNames,
	"100,000 filters that match each message":        filters,
	"100,000 filters, dropped and made again":        dropFilters,
	"10,000 connections that come and go":            churn,
	"commands of a mebibyte, one after the other":    largeCommands,
	"subscribers that do not read 16 MiB of message": deaf,
	"9,000 subscribers that do not read":             deafMany,
	"100 subscribers that do not read a mebibyte":    deafLarge,
	"9,900 holds of one lock, broken":                breakMany,
	"9,900 waiters that get a lock together":         grantMany,
	"9,900 locks with a REQID each":                  requestIDs,
	"descriptors that nobody takes":                  descriptors,
	"100 locks at once, and again":                   sets,
	"1,000 globs for each message":                   globs,
	"60,000 filters that match what a lock tells":    filteredEvents,
}

// forEver repeats f as fast as it goes.
func forEver(f func(i int)) {
	for i := 0; ; i++ {
		f(i)
		runtime.Gosched()
	}
}

func waiters(path string, ready func()) {
	all := dialAll(path, 5000)
	ask := func(i int) { all[i].send(command("LOCK.ACQUIRE", "bench/queue", "OWNER", fmt.Sprint(i))) }
	for i := range all {
		ask(i)
	}
	look := dialAll(path, 1)[0]
	look.ask("PING")
	ready()
	forEver(func(i int) {
		i = i * 7919 % len(all)
		closeAll(all[i : i+1])
		all[i] = dialAll(path, 1)[0]
		ask(i)
		if i%16 == 0 {
			look.send(command("LOCK.INFO", "bench/queue"))
			look.skip()
		}
	})
}

func slowly(path string, ready func()) {
	all := dialAll(path, 1000)
	text := command("LOCK.INFO", strings.Repeat("x", 200))
	ready()
	forEver(func(i int) {
		for _, c := range all {
			c.send(text[i%len(text) : i%len(text)+1])
			c.drain()
		}
	})
}

func longNames(path string, ready func()) {
	all := dialAll(path, 4)
	for i := range 9_900 {
		c := all[i%len(all)]
		c.ask("LOCK.ACQUIRE", fmt.Sprintf("%0200d", i), "WAIT", "0", "OWNER", strings.Repeat("o", 250), "WHY", strings.Repeat("w", 250))
	}
	ready()
	forEver(func(int) {
		for _, c := range all {
			c.send(command("LOCK.LIST"))
		}
		for _, c := range all {
			c.skip()
		}
	})
}

// subscribe makes filters that all match one topic.
func subscribe(c *conn, n, of int) {
	for i := range n {
		c.send(command("BUS.SUB", fmt.Sprintf("a/%d/#", of*n+i), "RAW"))
		c.drain()
	}
}

// manyLevels is what 60,000 filters match.
var manyLevels = strings.TrimSuffix(strings.Repeat("a/", 16), "/")

// subscribeAll makes 60,000 filters that match manyLevels behind a prefix.
func subscribeAll(all []*conn, prefix string) {
	words := make([]string, 16)
	for bits := range 60_000 { // "a" or "+" at each level
		for i := range words {
			words[i] = "a"
			if bits>>i&1 == 1 {
				words[i] = "+"
			}
		}
		c := all[bits%len(all)]
		c.send(command("BUS.SUB", prefix+strings.Join(words, "/"), "RAW"))
		c.drain()
	}
	for _, c := range all {
		c.send(command("PING"))
		c.skip()
	}
}

func filters(path string, ready func()) {
	all := dialAll(path, 10)
	subscribeAll(all, "")
	topic := manyLevels
	p := dialAll(path, 1)[0]
	ready()
	forEver(func(int) {
		p.send(command("PUBLISH", topic, "x"))
		p.skip()
		for _, c := range all {
			c.drain()
		}
	})
}

func dropFilters(path string, ready func()) {
	begin := func(of int) *conn {
		c := dialAll(path, 1)[0]
		subscribe(c, 100_000, of)
		c.send(command("PING"))
		c.skip()
		return c
	}
	c := begin(0)
	ready()
	forEver(func(i int) {
		closeAll([]*conn{c})
		c = begin(i)
	})
}

func churn(path string, ready func()) {
	ready()
	forEver(func(int) {
		all := dialAll(path, 64)
		for _, c := range all {
			c.send(command("LOCK.ACQUIRE", "bench/churn"))
		}
		closeAll(all)
	})
}

func largeCommands(path string, ready func()) {
	all := dialAll(path, 16)
	text := command("PUBLISH", "bench/large", strings.Repeat("x", 1<<20-100))
	ready()
	forEver(func(i int) {
		c := all[i%len(all)]
		c.send(text)
		c.skip()
	})
}

func holds(path string, ready func()) {
	begin := func() *conn {
		c := dialAll(path, 1)[0]
		for i := range 9_900 {
			c.send(command("LOCK.ACQUIRE", fmt.Sprintf("bench/hold/%d", i), "WAIT", "0"))
			c.drain()
		}
		return c
	}
	ready()
	forEver(func(int) { closeAll([]*conn{begin()}) })
}

func channels(path string, ready func()) {
	c := dialAll(path, 1)[0]
	for i := range 90_000 {
		c.send(command("SUBSCRIBE", fmt.Sprintf("bench/channel/%d", i)))
		c.drain()
	}
	look := dialAll(path, 4)
	ready()
	forEver(func(int) {
		for _, c := range look {
			c.send(command("PUBSUB", "CHANNELS", "*9*"))
		}
		for _, c := range look {
			c.skip()
		}
	})
}

func fanOutAttack(path string, ready func()) {
	all := dialAll(path, 9000)
	for _, c := range all {
		c.ask("BUS.SUB", "bench/many", "RAW")
	}
	p := dialAll(path, 1)[0]
	ready()
	forEver(func(int) {
		p.send(command("PUBLISH", "bench/many", "x"))
		p.skip()
		for _, c := range all {
			c.drain()
		}
	})
}

func deaf(path string, ready func()) {
	all := dialAll(path, 64)
	for _, c := range all {
		c.ask("BUS.SUB", "bench/deaf", "RAW")
	}
	p := dialAll(path, 1)[0]
	text := command("PUBLISH", "bench/deaf", strings.Repeat("x", 16<<10))
	ready()
	forEver(func(int) {
		p.send(text)
		p.skip()
	})
}

func deafLarge(path string, ready func()) {
	for _, c := range dialAll(path, 100) {
		c.ask("BUS.SUB", "bench/deaf", "RAW")
	}
	p := dialAll(path, 1)[0]
	text := command("PUBLISH", "bench/deaf", strings.Repeat("x", 1<<20-100))
	ready()
	forEver(func(int) {
		p.send(text)
		p.skip()
	})
}

func deafMany(path string, ready func()) {
	all := dialAll(path, 9000)
	for _, c := range all {
		must(unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
		c.ask("BUS.SUB", "bench/deaf", "RAW")
	}
	p := dialAll(path, 1)[0]
	text := command("PUBLISH", "bench/deaf", strings.Repeat("x", 1<<10))
	ready()
	forEver(func(int) {
		p.send(text)
		p.skip()
	})
}

// mostLocks is nearly as many as a user may hold and wait for.
const mostLocks = 9900

func breakMany(path string, ready func()) {
	holder, breaker := dialAll(path, 1)[0], dialAll(path, 1)[0]
	hold := func() {
		for i := range mostLocks {
			holder.send(command("LOCK.ACQUIRE", "bench/break", "SHARED", "WAIT", "0", "OWNER", fmt.Sprint(i)))
			holder.drain()
		}
		holder.send(command("PING"))
		holder.skip()
	}
	hold()
	ready()
	forEver(func(int) {
		breaker.send(command("LOCK.BREAK", "bench/break"))
		breaker.skip()
		hold()
	})
}

func grantMany(path string, ready func()) {
	holder, waiter := dialAll(path, 1)[0], dialAll(path, 1)[0]
	waiter.ask("HELLO", "3")
	begin := func() {
		holder.ask("LOCK.ACQUIRE", "bench/grant")
		for i := range mostLocks {
			waiter.send(command("LOCK.ACQUIRE", "bench/grant", "SHARED", "ASYNC", "OWNER", fmt.Sprint(i)))
			waiter.drain()
		}
		waiter.send(command("PING"))
		waiter.skip()
	}
	begin()
	ready()
	forEver(func(int) {
		holder.ask("LOCK.RELEASE", "bench/grant")
		waiter.skip()
		closeAll([]*conn{waiter})
		waiter = dialAll(path, 1)[0]
		waiter.ask("HELLO", "3")
		begin()
	})
}

func requestIDs(path string, ready func()) {
	// Each has a connection's worth of locks. The connection ends, and another one asks for the same again.
	begin := func() *conn {
		c := dialAll(path, 1)[0]
		for i := range mostLocks {
			c.send(command("LOCK.ACQUIRE", fmt.Sprintf("bench/request/%d", i), "WAIT", "0", "REQID", fmt.Sprint(i)))
			c.drain()
		}
		c.send(command("PING"))
		c.skip()
		return c
	}
	c := begin()
	ready()
	forEver(func(int) {
		closeAll([]*conn{c})
		c = begin()
	})
}

func descriptors(path string, ready func()) {
	all := dialAll(path, 100)
	fds := make([]int, 8)
	for i := range fds {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		must(err)
		fds[i] = fd
	}
	text, rights := command("PING"), unix.UnixRights(fds...)
	ready()
	forEver(func(i int) {
		c := all[i%len(all)]
		if err := unix.Sendmsg(c.fd, text, rights, nil, 0); err == nil {
			return
		}
		closeAll(all[i%len(all) : i%len(all)+1])
		all[i%len(all)] = dialAll(path, 1)[0]
	})
}

func sets(path string, ready func()) {
	words := []string{"LOCK.ACQUIRE", "bench/set/0"}
	for i := 1; i < 100; i++ {
		words = append(words, "AND", fmt.Sprintf("bench/set/%d", i))
	}
	text := command(words...)
	all := dialAll(path, 90)
	for _, c := range all {
		c.send(text)
	}
	ready()
	forEver(func(i int) { // the first to wait is the next to hold
		for {
			closeAll(all[i%len(all) : i%len(all)+1])
			all[i%len(all)] = dialAll(path, 1)[0]
			if all[i%len(all)].offer(text) { // else there are as many already as a user may have
				return
			}
		}
	})
}

func globs(path string, ready func()) {
	c := dialAll(path, 1)[0]
	for i := range 1000 {
		c.ask("PSUBSCRIBE", fmt.Sprintf("*a*a*a*a*a*a*a*a*%d", i))
	}
	p := dialAll(path, 1)[0]
	long := strings.Repeat("a", 230)
	ready()
	forEver(func(i int) {
		p.send(command("PUBLISH", fmt.Sprint(long, i, "x"), "x"))
		p.skip()
	})
}

func filteredEvents(path string, ready func()) {
	all := dialAll(path, 10)
	subscribeAll(all, "ipcd/lock/acquired/")
	p := dialAll(path, 1)[0]
	pair := append(command("LOCK.ACQUIRE", manyLevels, "WAIT", "0"), command("LOCK.RELEASE", manyLevels)...)
	ready()
	forEver(func(int) {
		p.send(pair)
		p.drain()
		for _, c := range all {
			c.drain()
		}
	})
}
