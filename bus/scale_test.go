package bus

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// BenchmarkScale: what one message, one value or one subscription costs does not depend on how many filters and values there are besides.
// Each is one among so many, of which one matches.
func BenchmarkScale(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		name := func(format string) string { return fmt.Sprintf(format, n/2) }
		buses := map[string]*Bus[int]{}
		for _, format := range []string{"app/%d/config", "app/%d/+", "app/%d/#", "+/%d/config"} {
			bus := New[int]()
			for i := range n {
				subscribe(b, bus, i, Filter, fmt.Sprintf(format, i))
			}
			buses[format] = bus
		}
		var values Retained[int]
		for i := range n {
			values.Set(fmt.Sprintf("app/%d/config", i), i)
		}
		topics := [2][]byte{[]byte(name("app/%d/config")), []byte("other")} // in turns, or the last one would be known
		for _, format := range slices.Sorted(maps.Keys(buses)) {
			bus := buses[format]
			b.Run(fmt.Sprintf("publish past %s/%d", format, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, routes, err := bus.Publish(topics[i%2]); err != nil || len(routes) != 1-i%2 {
						b.Fatal(routes, err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("read a value/%d", n), func(b *testing.B) {
			topic := name("app/%d/config")
			b.ReportAllocs()
			for b.Loop() {
				if v, ok := values.Get(topic); !ok || v != n/2 {
					b.Fatal("it is not there")
				}
			}
		})
		b.Run(fmt.Sprintf("replace a value/%d", n), func(b *testing.B) {
			topic := name("app/%d/config")
			b.ReportAllocs()
			for b.Loop() {
				if _, had := values.Set(topic, n/2); !had {
					b.Fatal("it is not there")
				}
			}
		})
		for _, format := range []string{"app/%d/config", "app/%d/+", "app/%d/#"} {
			b.Run(fmt.Sprintf("subscribe to %s with one value/%d", format, n), func(b *testing.B) {
				filter, bus := name(format), buses[format]
				b.ReportAllocs()
				for b.Loop() {
					subscribe(b, bus, -1, Filter, filter)
					found := 0
					for m, more := values.Lookup(filter), true; more; {
						var ok bool
						if _, ok, more = m.Next(); ok {
							found++
						}
					}
					if !bus.Unsubscribe(-1, Filter, filter) || found != 1 {
						b.Fatal(found)
					}
				}
			})
		}
	}
}
