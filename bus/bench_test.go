package bus

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// crowd is how many subscriptions the benchmarks have.
const crowd = 10_000

// numbered replaces A and B by two numbers, which are different for each i below 10,000.
func numbered(text string, i int) string {
	return strings.NewReplacer("A", strconv.Itoa(i%100), "B", strconv.Itoa(i/100)).Replace(text)
}

// crowded returns a bus with a crowd of subscriptions, each of another subscriber, with these texts in turns.
func crowded(b *testing.B, k Kind, texts ...string) *Bus[int] {
	bus := New[int]()
	for i := range crowd {
		subscribe(b, bus, i, k, numbered(texts[i%len(texts)], i))
	}
	return bus
}

// BenchmarkPublish publishes to 10,000 subscriptions: always under the same topic, under 100 topics, which the cache
// holds, and under 10,000, which it does not.
func BenchmarkPublish(b *testing.B) {
	var topics [][]byte
	for i := range crowd {
		topics = append(topics, []byte(numbered("site/A/room/B/temp", i)))
	}
	few := New[int]()
	subscribe(b, few, 1, Filter, "site/#")
	subscribe(b, few, 2, Filter, "other/+/x")

	const literal = "site/A/room/B/temp"
	for _, bb := range []struct {
		name string
		bus  *Bus[int]
	}{
		{"none", New[int]()},
		{"two filters", few},
		{"channels", crowded(b, Channel, literal)},
		{"filters literal", crowded(b, Filter, literal)},
		{"filters one in ten wild", crowded(b, Filter, literal, literal, literal, literal, literal, literal, literal, literal,
			literal, "site/A/room/B/+")},
		{"filters plus last", crowded(b, Filter, "site/A/room/B/+")},
		{"filters plus first", crowded(b, Filter, "+/A/room/B/temp")},
		{"filters hash", crowded(b, Filter, "site/A/room/B/#")},
		{"filters of all forms", crowded(b, Filter, "site/A/room/B/#", "+/A/+/B/temp", "site/A/#", "site/+/room/B/+")},
		{"patterns with heads", crowded(b, Pattern, "site/A/room/B/*")},
		{"patterns without", crowded(b, Pattern, "*/A/room/B/temp")},
	} {
		for _, n := range []int{1, 100, crowd} {
			b.Run(fmt.Sprintf("%s/topics=%d", bb.name, n), func(b *testing.B) {
				b.ReportAllocs()
				routes := 0
				for i := 0; b.Loop(); i++ {
					_, r, err := bb.bus.Publish(topics[i%n])
					if err != nil {
						b.Fatal(err)
					}
					routes += len(r)
				}
				b.ReportMetric(float64(routes)/float64(b.N), "routes/op")
			})
		}
	}
}

// BenchmarkFind is the search alone, without the cache.
func BenchmarkFind(b *testing.B) {
	topics := make([][]byte, crowd)
	for i := range topics {
		topics[i] = []byte(numbered("site/A/room/B/temp", i))
	}
	for _, format := range []string{"site/A/room/B/+", "+/A/room/B/temp", "site/A/room/B/#", "+/A/+/B/+"} {
		bus := crowded(b, Filter, format)
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if slots, _, _ := bus.wild.find(topics[i%crowd], true, math.MaxInt); len(slots) != 1 {
					b.Fatal("no match")
				}
			}
		})
	}
}

// BenchmarkFanOut reads the lists of subscribers that a message goes to.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			bus := New[int]()
			for i := range n {
				subscribe(b, bus, i, Filter, "a/#")
			}
			topic := []byte("a/b")
			b.ReportAllocs()
			sum := 0
			for b.Loop() {
				_, routes, _ := bus.Publish(topic)
				for _, r := range routes {
					for _, s := range r.Subs() {
						sum += s
					}
				}
			}
		})
	}
}

// BenchmarkSubscribe: one more subscribes and leaves again, where a crowd is already.
func BenchmarkSubscribe(b *testing.B) {
	for _, bb := range []struct {
		name  string
		k     Kind
		crowd string
		text  string
	}{
		{"same filter", Filter, "site/#", "site/#"},
		{"new channel", Channel, "site/A/room/B", "site/x"},
		{"new filter", Filter, "site/A/room/B/#", "site/x/#"},
		{"new pattern", Pattern, "site/A/room/B/*", "site/x/*"},
	} {
		bus := crowded(b, bb.k, bb.crowd)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := bus.Subscribe(-1, bb.k, bb.text); err != nil {
					b.Fatal(err)
				}
				bus.Drop(-1)
			}
		})
	}
}

// BenchmarkMemory is what subscriptions of one client take, each to something else: bytes, objects, and how long the garbage collector
// is busy with them, at the least.
func BenchmarkMemory(b *testing.B) {
	deep := func(i int) string { // of 16 levels, each "a" or "+"
		levels := make([]string, 16)
		for n := range levels {
			levels[n] = "a"
			if i>>n&1 == 1 {
				levels[n] = "+"
			}
		}
		return strings.Join(levels, "/")
	}
	for _, bb := range []struct {
		name string
		kind Kind
		text func(i int) string
	}{
		{"channels", Channel, func(i int) string { return fmt.Sprintf("a/%d", i) }},
		{"filters", Filter, func(i int) string { return fmt.Sprintf("a/%d/#", i) }},
		{"deep filters", Filter, deep},
	} {
		b.Run(bb.name, func(b *testing.B) {
			const n = 50_000
			var before, after runtime.MemStats
			least := time.Duration(math.MaxInt64)
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				bus := New[*int]()
				who := new(int)
				for i := range n {
					if _, _, err := bus.Subscribe(who, bb.kind, bb.text(i)); err != nil {
						b.Fatal(err)
					}
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				begun := time.Now()
				runtime.GC()
				least = min(least, time.Since(begun))
				runtime.KeepAlive(bus)
			}
			b.ReportMetric(float64(least.Microseconds())/1000, "ms/GC")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/subscription")
			b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/n, "objects/subscription")
		})
	}
}

// BenchmarkStorm: a crowd subscribes to one filter, then leaves in the worst order; the time is for each.
func BenchmarkStorm(b *testing.B) {
	for _, n := range []int{crowd / 10, crowd, 10 * crowd} {
		for _, publish := range []bool{false, true} {
			b.Run(fmt.Sprintf("crowd=%d/publish=%v", n, publish), func(b *testing.B) {
				for b.Loop() {
					bus := New[int]()
					for i := range n {
						subscribe(b, bus, i, Filter, "a/#")
					}
					for i := range n {
						bus.Drop(i)
						if publish && i%100 == 0 { // reading the list closes the holes in it
							if _, routes, _ := bus.Publish([]byte("a/b")); len(routes) == 1 {
								routes[0].Subs()
							}
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/subscriber")
			})
		}
	}
}

// costly are patterns that take long to match with names of many a's, and match none; %d makes many of each.
var costly = map[string]string{
	"one class": "*[" + strings.Repeat("b", 245) + "%04d]z",
	"classes":   "*" + strings.Repeat("[ab]", 61) + "[%04d]",
	"letters":   "*" + strings.Repeat("a", 127) + "[^az0-9]%04d*",
	"marks":     "*" + strings.Repeat("?", 127) + "[^a-z0-9%04d]*",
	"stars":     strings.Repeat("*a", 60) + strings.Repeat("*[ab]", 20) + "%04d[z]*",
}

// BenchmarkCostlyGlobs publishes past as many costly patterns as a user may have, under ever other topics.
func BenchmarkCostlyGlobs(b *testing.B) {
	for name, pattern := range costly {
		bus := New[int]()
		for i := range 1000 {
			subscribe(b, bus, 1, Pattern, fmt.Sprintf(pattern, i))
		}
		b.Run(name, func(b *testing.B) {
			topic := []byte(strings.Repeat("a", MaxTopic))
			for i := 0; b.Loop(); i++ {
				copy(topic[MaxTopic-6:], fmt.Sprintf("%06d", i))
				if _, routes, _ := bus.Publish(topic); len(routes) > 0 {
					b.Fatal("a match")
				}
			}
		})
	}
}

// BenchmarkChannels lists 20,000 channels.
func BenchmarkChannels(b *testing.B) {
	bus := New[int]()
	for i := range 20_000 {
		subscribe(b, bus, 1, Channel, fmt.Sprintf("%s%06d", strings.Repeat("a", MaxTopic-6), i))
	}
	for name, pattern := range costly {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if names := bus.Channels(fmt.Sprintf(pattern, 0)); len(names) > 0 {
					b.Fatal("a match")
				}
			}
		})
	}
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			bus.Channels("*")
		}
	})
}

func BenchmarkCompileGlob(b *testing.B) {
	different := []byte("*?")
	for c := range byte(251) {
		if strings.IndexByte(`*?[\`, c) < 0 {
			different = append(different, c)
		}
	}
	for name, pattern := range map[string]string{
		"head": "site/*", "tail": "*/temp", "usual": "site/*/room/[ab]*", "one class": costly["one class"], "classes": costly["classes"],
		"marks": strings.Repeat("?", MaxTopic), "ranges": strings.Repeat("[%-&][A-B][\x80-\xf0]", MaxTopic/15),
		"different letters": string(different) + "?",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				CompileGlob(pattern)
			}
		})
	}
}
