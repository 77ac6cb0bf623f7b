package main

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// Partners of the driver are this program.
func TestMain(m *testing.M) {
	if helper(os.Args) {
		return
	}
	os.Exit(m.Run())
}

// testBench is a bench of short turns. All rivals that test/setup installs are there; others are measured where they are.
func testBench(t *testing.T) *bench {
	t.Helper()
	testenv.Need(t, "redis-server", "nats-server", "mosquitto", "dbus-daemon")
	runtime.LockOSThread()
	b, err := newBench(settings{ipcd: testdaemon.Program(t, "ipcd"), redis: "redis-server", rounds: 1, cell: time.Millisecond}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each protocol is understood by each server that speaks it: a message comes to who subscribed to its topic or to what is above it,
// and to nobody else.
func TestProtocols(t *testing.T) {
	b := testBench(t)
	for _, kind := range buses {
		if kind != ipcdServer && !b.has(kind) {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			err := func() (err error) {
				defer recoverInto(&err)
				defer func() { _ = b.cpus.pin() }()
				s, err := b.startServer(kind, free)
				if err != nil {
					return err
				}
				defer s.stop()
				p, c := s.protocol(), s.connect(3)
				defer closeAll(c)
				p.subscribe(c[1], "test/a/topic")
				p.below(c[2], "test/b", "test/c")
				publish := func(topic, text string) {
					c[0].send(p.publish(topic, text))
					if p.answers() {
						c[0].reply()
					}
					c[0].send(p.echo())
					c[0].reply()
				}
				publish("test/a/other", "nobody's")
				publish("test/a/topic", strings.Repeat("!", 10_000)+"the first's")
				publish("test/c/topic", "the second's")
				first := c[1].until("the first's" + p.tail())
				if strings.Contains(first, "nobody's") || strings.Count(first, "!") != 10_000 {
					t.Errorf("a subscriber to a topic got %q", first)
				}
				if second := c[2].until("the second's" + p.tail()); strings.Contains(second, "nobody's") || strings.Contains(second, "the first's") {
					t.Errorf("a subscriber to all below got %q", second)
				}
				return nil
			}()
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A rival that is not there is said to be missing.
func TestRivalNotInstalled(t *testing.T) {
	b := &bench{programsOf: map[string]string{redisServer: "/bin/true"}}
	got := strings.Join(b.versions(), "\n")
	for _, r := range rivals {
		if want := r.kind != redisServer; strings.Contains(got, r.program+" not installed") != want {
			t.Errorf("%s not installed: want %v in\n%s", r.program, want, got)
		}
	}
}

// Each row of messages can be measured with each server that is in it.
func TestRowsOfMessages(t *testing.T) {
	b := testBench(t)
	count := 0
	b.addBuses(func(name string, _ place, u unit, all ...contender) {
		for _, like := range []string{"fan-out to 8, 64 B, batches", "1 MiB", "among 1,000", "value", "request", "stopped"} {
			if !strings.Contains(name, like) {
				continue
			}
			count++
			res, err := b.measure(row{name: name, place: free, unit: u, all: all})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, s := range res.series {
				if err == nil && (len(s.values) != 1 || s.values[0] <= 0) {
					t.Errorf("%s: %s has the values %v", name, s.name, s.values)
				}
			}
		}
	})
	if want := 9; count != want {
		t.Errorf("%d rows were measured, want %d", count, want)
	}
}
