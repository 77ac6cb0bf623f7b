package main

import (
	"fmt"
	"slices"
)

// serveAll makes contenders of a scenario, of the kinds of servers that are installed.
func (b *bench) serveAll(sc scenario, aims map[string]target, kinds ...string) []contender {
	var all []contender
	for _, kind := range kinds {
		if kind == ipcdServer || b.has(kind) {
			all = append(all, b.serve(kind, sc, aims[kind]))
		}
	}
	return all
}

// buses are all kinds of servers that carry messages from one to many.
var buses = []string{ipcdServer, redisServer, natsServer, mosquittoServer, dbusDaemon, dbusBroker}

// addBuses adds the rows of messages.
func (b *bench) addBuses(add func(name string, p place, u unit, all ...contender)) {
	for _, f := range []struct {
		name        string
		size, batch int
		aims        map[int]map[string]target
	}{
		{"64 B, batches of 64", 64, 64, map[int]map[string]target{
			1:  {redisServer: {least: 2.7}, natsServer: {least: 2.3}, dbusBroker: {least: 20}, mosquittoServer: {least: 30}},
			8:  {redisServer: {least: 4}, natsServer: {least: 5}, dbusBroker: {least: 40}, mosquittoServer: {least: 90}},
			64: {redisServer: {least: 5.5}, natsServer: {least: 9}, dbusBroker: {least: 70}, mosquittoServer: {least: 170}},
		}},
		{"64 B, one by one", 64, 1, nil},
		{"1 KiB, batches of 64", 1024, 64, map[int]map[string]target{64: {redisServer: {least: 2.2}, natsServer: {least: 5}}}},
		{"1 KiB, one by one", 1024, 1, nil},
	} {
		for _, n := range []int{1, 8, 64} {
			add(fmt.Sprintf("fan-out to %d, %s", n, f.name), split, millions, b.serveAll(fanOut(n, f.size, f.batch), f.aims[n], buses...)...)
		}
	}
	add("fan-out to 8, 1 MiB", split, gigabytes, b.serveAll(largeMessages(8, 1<<20), nil, buses...)...)
	inMessages := b.serve(ipcdServer, largeMessages(8, 1<<20), target{least: 10})
	inMessages.name = "in messages of 1 MiB"
	add("64 MiB to 8 as a file", split, gigabytes, b.serve(ipcdServer, largeFile(8, 64<<20, false), target{}), inMessages, b.onlyFile(8, 64<<20))
	add("64 MiB to 8 as a file that was there", split, gigabytes, b.serve(ipcdServer, largeFile(8, 64<<20, true), target{}), inMessages)
	for _, n := range []int{1, 8} {
		for _, batch := range []int{64, 1} {
			name := map[int]string{64: "batches of 64", 1: "one by one"}[batch]
			add(fmt.Sprintf("shared by %d, 64 B, %s", n, name), split, millions, b.serveAll(sharing(n, 64, batch), nil, ipcdServer, natsServer, mosquittoServer)...)
		}
	}
	for _, n := range []int{1, 8, 64} {
		add(fmt.Sprintf("one message until the last of %d has it, p50", n), free, microseconds, b.serveAll(untilLast(n), nil, buses...)...)
	}

	add("message to a filter, 1 other", split, microseconds, b.serveAll(amongFilters(1), nil, buses...)...)
	add("message to a filter among 1,000 others", split, microseconds, b.amongMany(1000, buses...)...)
	if !b.quick {
		// Redis takes minutes for so many patterns, as it looks for each of them among those that are there.
		add("message to a filter among 100,000 others", split, nanoseconds,
			b.amongMany(100_000, ipcdServer, natsServer, mosquittoServer, dbusDaemon, dbusBroker)...)
	}
	add("value of a topic, read (BUS.GET, GET, SUBSCRIBE)", same, microseconds, b.serveAll(retainedValue, nil, ipcdServer, redisServer, mosquittoServer)...)
	add("subscription that begins with 1,000 values (MGET)", split, milliseconds,
		b.serveAll(subscribeToValues(1000), nil, ipcdServer, redisServer, mosquittoServer)...)

	for _, p := range []place{same, free} {
		all := []contender{b.serveWith(ipcdServer, ipcdServer, target{}, request), b.serveWith(bareServer, bareServer, target{most: 1.15}, request)}
		for _, kind := range buses[1:] {
			if b.has(kind) {
				all = append(all, b.serveWith(kind, kind, target{}, request))
			}
		}
		add("request and reply (PUBLISH there and back), p50", p, microseconds, all...)
	}

	for _, who := range []struct {
		name      string
		publisher bool
	}{{"the publisher's answer", true}, {"the last of the others", false}} {
		all := []contender{
			b.serveWith(ipcdServer, ipcdServer, target{}, oneStopped(who.publisher, true)),
			b.serveWith("none stopped", ipcdServer, target{most: 1.2}, oneStopped(who.publisher, false)),
		}
		for _, kind := range buses[1:] {
			if b.has(kind) {
				all = append(all, b.serveWith(kind, kind, target{}, oneStopped(who.publisher, true)))
			}
		}
		add(fmt.Sprintf("1 of 64 stopped: %s, p99", who.name), split, microseconds, all...)
	}
}

// amongMany are contenders that have many filters, and ipcd with one: it should make no difference.
func (b *bench) amongMany(others int, kinds ...string) []contender {
	all := b.serveAll(amongFilters(others), nil, kinds...)
	one := b.serve(ipcdServer, amongFilters(1), target{most: 1.2})
	one.name = "1 other"
	return slices.Insert(all, 1, one)
}
