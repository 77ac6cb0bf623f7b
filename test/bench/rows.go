package main

import (
	"fmt"
	"os"
	"time"
)

// rows is the table: what is measured, and the ratio that is the aim. Ratios are ours divided by the rival's.
func (b *bench) rows() []row {
	var rows []row
	add := func(name string, p place, u unit, all ...contender) {
		if p == split && len(b.cpus) < 2 {
			return
		}
		rows = append(rows, row{name: name, place: p, unit: u, all: all})
	}
	servers := func(sc scenario, redis target) []contender {
		return b.serveAll(sc, map[string]target{redisServer: redis}, ipcdServer, redisServer)
	}
	// overFloor is servers, and the floor under them.
	overFloor := func(sc scenario, redis, floor target) []contender {
		return append(servers(sc, redis), b.serve(bareServer, sc, floor))
	}
	quick, many := target{most: 1.15}, target{least: .87}

	ping, publish := command("PING"), command("PUBLISH", "bench/topic", payload(64))
	add("PING round trip", same, microseconds, append(overFloor(roundTrip(ping), target{most: .92}, quick),
		b.serve(rawServer, roundTrip(ping), target{most: 1.15}))...)
	add("PING round trip of other buses", same, microseconds, b.serveAll(echo,
		map[string]target{natsServer: {most: .5}, dbusBroker: {most: .74}}, ipcdServer, natsServer, mosquittoServer, dbusDaemon, dbusBroker)...)
	add("PING round trip", split, microseconds, overFloor(roundTrip(ping), target{}, quick)...)
	add("PING round trip", free, microseconds, overFloor(roundTrip(ping), target{most: .35}, quick)...)
	add("PUBLISH round trip, nobody subscribed", same, microseconds, overFloor(roundTrip(publish), target{}, quick)...)
	add("PUBLISH round trip, nobody subscribed", free, microseconds, overFloor(roundTrip(publish), target{}, quick)...)
	add("PING, 1 client, pipeline 16", split, millions, overFloor(throughput(1, 16, ping), target{}, many)...)
	add("PUBLISH, 1 client, pipeline 16", split, millions, overFloor(throughput(1, 16, publish), target{}, many)...)
	for _, pipeline := range []int{1, 16} {
		aim := map[int]target{1: {least: 1.25}, 16: {least: 2.2}}[pipeline]
		add(fmt.Sprintf("PING, 50 clients, pipeline %d", pipeline), split, millions, overFloor(throughput(50, pipeline, ping), aim, many)...)
		add(fmt.Sprintf("PUBLISH, 50 clients, pipeline %d", pipeline), split, millions, overFloor(throughput(50, pipeline, publish), aim, many)...)
	}

	b.addBuses(add)
	b.addRequests(add)
	for _, p := range []place{same, free} {
		add("lines of 64 B from a file, by one program to another", p, millions, b.byPrograms(100_000)...)
	}

	add("lock + unlock (SET NX PX + DEL)", same, microseconds, overFloor(lockPair, target{most: .9}, quick)...)
	add("lock + unlock (SET NX PX + DEL)", free, microseconds, overFloor(lockPair, target{most: .3}, quick)...)
	for _, p := range []place{same, free} {
		aim, kernel := target{most: .9}, target{}
		if p == same {
			kernel.most = 5
		}
		add("contended hand-off, p50 (BLPOP)", p, microseconds, append(overFloor(handOff(.5), aim, quick), b.flockHandOff(.5, kernel))...)
		add("contended hand-off, p99 (BLPOP)", p, microseconds, append(servers(handOff(.99), target{}), b.flockHandOff(.99, target{}))...)
	}
	add("lock + unlock, 64 clients, a lock for each (SET NX PX + DEL)", split, millions, servers(crowd(64, false), target{})...)
	add("lock + unlock, 64 clients in turn on one lock (BLPOP + RPUSH)", split, millions, servers(crowd(64, true), target{})...)
	few := b.serve(ipcdServer, longQueue(100), target{})
	few.name = "100 waiting"
	add("release, grant and wait again, 9,000 waiting", same, microseconds, b.serve(ipcdServer, longQueue(9000), target{}), few)
	for _, p := range []place{same, free} {
		add("ipcctl lock x true", p, milliseconds, b.programs()...)
		add("ipcctl acquire and release in sh", p, milliseconds, b.inScripts()...)
	}

	for _, name := range attackNames() {
		if os.Geteuid() != 0 || len(b.cpus) < 2 || b.quick {
			break // it takes another user, a CPU for what is measured, and time
		}
		add("PING under attack: "+name, split, milliseconds, b.underAttack(name)...)
		rows[len(rows)-1].cell = max(b.cell, 1500*time.Millisecond)
		add("memory after the attack: "+name, split, megabytes, b.afterAttack(name)...)
		rows[len(rows)-1].rounds = 1
	}

	once := func(name string, u unit, all ...contender) {
		add(name, free, u, all...)
		rows[len(rows)-1].rounds = 1
	}
	once("resident memory after the start", megabytes, servers(idleMemory, target{most: .6})...)
	once("CPU of an idle second", microseconds, servers(idleCPU, target{})...)
	n := min(b.connections, b.mostConnections())
	once(fmt.Sprintf("memory of each of %d idle connections", n), plainBytes, servers(connectionMemory(n, b.idle), target{ours: 1000})...)
	return rows
}
