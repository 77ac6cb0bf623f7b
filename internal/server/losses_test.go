package server

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestLossesAreTold: of a user whose subscribers miss messages there is one event, when a while is over, with all that was missed, and about
// the one that missed the most. Of another user there is another one, and none when nothing was missed since.
func TestLossesAreTold(t *testing.T) {
	log := new(logBuffer)
	m := newManual(t, 1, func(s *Setup, o *Options) {
		o.Limits.Output = 16 << 10
		s.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	watcher, publisher := m.connect(false), m.connectAs(1001, false)
	watcher.cmd("HELLO", "3")
	watcher.cmd("BUS.SUB", "ipcd/client/lost")
	slow := map[string]*end{}
	for name, uid := range map[string]uint32{"one": 1002, "two": 1002, "three": 1003} {
		c := m.connectAs(uid, true)
		c.cmd("HELLO", "3", "SETNAME", name)
		c.cmd("BUS.SUB", "a")
		slow[name] = c
	}
	slow["two"].cmd("BUS.SUB", "b")
	m.settle()
	watcher.take()
	publish := func(topic string, n int) (dropped uint64) {
		before := m.messages.Stats().Dropped
		for range n {
			publisher.cmd("BUS.PUB", topic, strings.Repeat("x", 1<<10))
		}
		for m.step() || len(publisher.pending) > 0 {
			publisher.send()
			publisher.read(64 << 10)
		}
		return m.messages.Stats().Dropped - before
	}
	start := m.set.Now()
	m.set.Loop.Clock.EndTurn()
	all := publish("a", 100)
	ofTwo := publish("b", 20)
	if all%3 != 0 || all == 0 || ofTwo == 0 {
		t.Fatalf("%d are lost, and %d", all, ofTwo)
	}
	each := all / 3
	m.at(start + lossPeriod/2)
	watcher.read(64 << 10)
	if got := watcher.take(); got != "" {
		t.Errorf("it is told at once: %s", got)
	}
	tell := func() string {
		m.at(start + 2*lossPeriod)
		watcher.read(64 << 10)
		return watcher.take()
	}
	got := tell()
	for _, want := range []string{
		fmt.Sprintf(`"name":"two","lost":%d,"lost_of_user":%d,"connections":2}`, each+ofTwo, 2*each+ofTwo),
		fmt.Sprintf(`"name":"three","lost":%d,"lost_of_user":%[1]d,"connections":1}`, each),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %s: %s", want, got)
		}
	}
	if n := strings.Count(got, `"event":"lost"`); n != 2 {
		t.Errorf("there are %d events", n)
	}
	publisher.take()
	publisher.cmd("CLIENT", "LIST")
	for m.step() {
	}
	list := publisher.take()
	for name, lost := range map[string]uint64{"one": each, "two": each + ofTwo, "three": each} {
		line, _, _ := strings.Cut(list[max(strings.Index(list, "name="+name), 0):], "\n")
		waiting, _ := m.of(slow[name]).CountWaiting()
		if waiting == 0 || !strings.HasSuffix(line, fmt.Sprint(" lost=", lost)) || !strings.Contains(line, fmt.Sprint(" oll=", waiting, " omem=", m.of(slow[name]).Unread(), " ")) {
			t.Errorf("%s has lost %d: %s", name, lost, line)
		}
	}
	for _, want := range []string{fmt.Sprintf("client=%d ", slow["two"].id), fmt.Sprintf("lost=%d ", each+ofTwo), fmt.Sprintf("client=%d ", slow["three"].id)} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	if start += time.Minute; tell() != "" {
		t.Error("it is told twice")
	}
}
