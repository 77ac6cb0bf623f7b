package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What a burst of connections, messages or locks took stays the process's after it: the runtime collects when as much again is
// asked for, which in a calm may be never, and gives back slowly what it has collected. A heap that is much larger than it was
// left the last time is given back at the first calm.

const (
	memoryEvery = 2 * time.Second
	// calmBytes is how much may be allocated between two looks in a calm.
	calmBytes = 4 << 20
	// spareBytes is how much more than the last time a heap may hold without being given back.
	spareBytes = 16 << 20
)

// A heap is what the runtime says of it.
type heap struct {
	allocated uint64 // since the start
	held      uint64 // from the kernel
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	return heap{samples[0].Value.Uint64(), samples[1].Value.Uint64() + samples[2].Value.Uint64() + samples[3].Value.Uint64()}
}

// A saver decides when memory is given back.
type saver struct {
	last heap   // when it looked last
	left uint64 // what was held after it was given back last
}

// due reports whether it is time to give memory back.
func (s *saver) due(now heap) bool {
	calm := now.allocated-s.last.allocated < calmBytes
	s.last = now
	s.left = min(s.left, now.held)
	return calm && now.held > s.left+s.left/2+spareBytes
}

// saveMemory gives back memory that is not needed any more, until ctx ends.
func saveMemory(ctx context.Context) {
	s := saver{last: readHeap()}
	s.left = s.last.held
	for tick := time.NewTicker(memoryEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		if s.due(readHeap()) {
			debug.FreeOSMemory()
			s.last = readHeap()
			s.left = s.last.held
		}
	}
}
