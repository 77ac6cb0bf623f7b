package bus

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var races = flag.Int("races", 5000, "how many subscriptions TestRaces begins that race with what is published")

// TestRaces begins very many subscriptions to topics with values while messages are published, values replaced and cleared, and
// whatever else may happen does, in any order and bit by bit. A [witness] says of each that it is given the values of its moment, and
// then what is published: nothing is missing, and nothing comes twice.
func TestRaces(t *testing.T) {
	begun := 0
	for seed := uint64(0); begun < *races; seed++ {
		random := rand.New(rand.NewPCG(seed, 4))
		h := newHub(4, 2, 1+random.IntN(6), []int{0, 1, 2, 5}[random.IntN(4)])
		h.policy = []func(form) policy{policyOf, each, all(conflate{}), all(disconnect{})}[seed%4]
		steps := func() (log []string, err error) {
			for range 400 {
				log = append(log, raceStep(h, random))
				h.settle()
				if h.witness.err != nil || random.IntN(20) == 0 {
					err = h.check()
				}
				if err != nil {
					return log, err
				}
			}
			return log, h.drain(raceTopics...)
		}
		if log, err := steps(); err != nil {
			t.Fatalf("seed %d: %v\nafter\n%s", seed, err, strings.Join(log, "\n"))
		}
		begun += h.raced
	}
	t.Logf("%d subscriptions began with values", begun)
}

var (
	raceTopics = []string{"a", "a/b", "a/c", "a/b/c", "b", "ipcd/a"}
	raceForms  = []form{
		below, under, spelled, glob, channel, {Filter, "", "#"}, {Filter, "", "+"}, {Filter, "", "a/b"}, {Filter, "", "+/+/#"},
		{Filter, "", "ipcd/#"}, {Pattern, EnvelopePattern, "#"}, {Pattern, "", "*c"}, {Channel, "", "a"},
	}
)

// raceStep has something happen, and says what.
func raceStep(h *hub, random *rand.Rand) string {
	seat, topic, f := random.IntN(len(h.peers)), raceTopics[random.IntN(len(raceTopics))], raceForms[random.IntN(len(raceForms))]
	p := h.peers[seat]
	switch n := random.IntN(100); {
	case n < 30:
		retain := random.IntN(2) == 0
		return fmt.Sprintf("publish under %q, retained: %v, by %d: %v", topic, retain, seat, h.publish(seat, topic, retain))
	case n < 35:
		return fmt.Sprintf("clear %q: %v", topic, h.clear(topic))
	case n < 60:
		switch {
		case p.dead || p.queue.replies():
		case h.bus.AgeOf(p, h.bus.Route(f.kind, f.text())) != 0:
			h.unsubscribe(p, f)
			return fmt.Sprintf("%v unsubscribes from %v", p, f)
		case !h.sends(p):
			h.subscribe(p, f)
			return fmt.Sprintf("%v subscribes to %v", p, f)
		}
		return "nothing"
	case n < 80:
		return fmt.Sprintf("%v reads: %v", p, h.read(p))
	case n < 96:
		h.move()
		return "the line moves"
	case n < 99 && p.dead:
		h.reap(seat, 1+random.IntN(2))
		return fmt.Sprintf("%v loses more", p)
	case n < 99:
		h.die(p)
		return fmt.Sprintf("%v is gone", p)
	}
	h.restart()
	return "a crash"
}
