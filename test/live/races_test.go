package live

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/test/testdaemon"
)

var races = flag.Int("races", 3000, "so many subscriptions begin in TestRaces while messages are published")

// TestRaces begins very many subscriptions while values are replaced, cleared and published past.
func TestRaces(t *testing.T) {
	const publishers, subscribers, topicsEach = 3, 6, 3
	d := testdaemon.Start(t, testdaemon.Config{Quick: *races > 10_000})
	var begun atomic.Int64
	var publishing, subscribing sync.WaitGroup
	over := make(chan struct{})
	var filters []string
	for p := range publishers {
		c := dial(t, d)
		var topics []*topic
		for i := range topicsEach {
			topics = append(topics, &topic{name: fmt.Sprintf("race/%d/%d", p, i)})
			filters = append(filters, topics[i].name)
		}
		filters = append(filters, fmt.Sprintf("race/%d/+", p))
		publishing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(p), 0))
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := topics[random.IntN(topicsEach)].act(c, random); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	filters = append(filters, "race/#")
	for i := range subscribers {
		c := dial(t, d)
		for n := range 2 { // who have the same filter at the same time share a subscription in the daemon
			subscribing.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), uint64(1+n)))
				for begun.Add(1) <= int64(*races) {
					if err := live(c, filters[random.IntN(len(filters))], random); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	subscribing.Wait()
	close(over)
	publishing.Wait()
	t.Logf("%d subscriptions began", min(begun.Load(), int64(*races)))
}

func dial(t *testing.T, d *testdaemon.Daemon) *ipc.Client {
	t.Helper()
	c, err := ipc.Dial(context.Background(), d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A topic is one of a publisher's.
type topic struct {
	name    string
	n       int  // the number of the last message
	value   int  // and of the one that is the value; 0: there is none
	cleared bool // since the last message
	before  int  // the value before it was cleared
}

// act publishes the next message, or clears the value.
func (tp *topic) act(c *ipc.Client, random *rand.Rand) error {
	ctx := context.Background()
	if random.IntN(10) == 0 {
		had, err := c.Clear(ctx, tp.name)
		if err == nil && had != (tp.value > 0) {
			err = fmt.Errorf("%s had a value: %v, want %d", tp.name, had, tp.value)
		}
		if tp.value > 0 {
			tp.cleared, tp.before, tp.value = true, tp.value, 0
		}
		return err
	}
	tp.n++
	payload := fmt.Appendf(nil, "%d %d %v %d", tp.n, tp.value, tp.cleared, tp.before)
	tp.cleared = false
	var options []ipc.PublishOption
	if random.IntN(3) > 0 {
		options = append(options, ipc.Retain())
		tp.value = tp.n
	}
	_, err := c.Publish(ctx, tp.name, payload, options...)
	return err
}

// seen is what a subscription was given of a topic.
type seen struct {
	value int // the number of the value that it began with; 0: of none
	last  int // of the last message; 0: none came
}

// live is the life of a subscription: it reads some messages, and looks whether they are those of its lifetime.
func live(c *ipc.Client, filter string, random *rand.Rand) error {
	ctx := context.Background()
	sub, err := c.Subscribe(ctx, filter)
	if err != nil {
		return err
	}
	defer sub.Close()
	topics := map[string]*seen{}
	var log []string
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s, after\n%q", filter, fmt.Sprintf(format, args...), log[max(0, len(log)-30):])
	}
	lost, missing, came, seq := 0, 0, 0, uint64(0)
	for left := 1 + random.IntN(12); left > 0; {
		m, err := sub.Next(ctx)
		if err != nil {
			return fail("%v", err)
		}
		log = append(log, fmt.Sprintf("%s=%s retained %v seq %d lost %d", m.Topic, m.Payload, m.Retained, m.Seq, m.Lost))
		var n, value, before int
		var cleared bool
		if _, err := fmt.Sscan(string(m.Payload), &n, &value, &cleared, &before); err != nil {
			return fail("%v", err)
		}
		lost += int(m.Lost)
		is := topics[m.Topic]
		if is == nil {
			is = &seen{}
			topics[m.Topic] = is
		}
		if m.Retained {
			if came > 0 || is.value > 0 {
				return fail("a value comes behind another of the topic, or behind a message")
			}
			is.value = n
			continue
		}
		left--
		if came++; m.Seq <= seq {
			return fail("a message comes out of order")
		}
		seq = m.Seq
		may := []int{value}
		if cleared {
			may = append(may, before)
		}
		switch {
		case is.last == 0 && lost == 0 && !slices.Contains(may, is.value):
			return fail("the first message follows the value %d, and it began with %d", value, is.value)
		case is.last > 0 && n <= is.last:
			return fail("a message comes twice")
		case is.last > 0:
			missing += n - is.last - 1
		}
		is.last = n
		if missing > lost {
			return fail("%d messages are missing, and %d are told to be", missing, lost)
		}
	}
	return nil
}
