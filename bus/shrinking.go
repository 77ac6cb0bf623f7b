package bus

// shrinkingMap is a map that becomes smaller again: Go's keeps the room of the most elements that it ever held, here for as
// long as one subscriber stays.
type shrinkingMap[K comparable, V any] struct {
	m    map[K]V // nil: empty
	peak int     // the most elements since m was made
}

func (s *shrinkingMap[K, V]) set(k K, v V) {
	if s.m == nil {
		s.m = map[K]V{}
	}
	s.m[k] = v
	s.peak = max(s.peak, len(s.m))
}

// delete moves the rest into a smaller map when three of four elements have gone: on average that is less than one move
// for each.
func (s *shrinkingMap[K, V]) delete(k K) {
	delete(s.m, k)
	if len(s.m) == 0 {
		*s = shrinkingMap[K, V]{}
		return
	}
	if s.peak < 64 || len(s.m) > s.peak/4 {
		return
	}
	m := make(map[K]V, len(s.m))
	for k, v := range s.m {
		m[k] = v
	}
	s.m, s.peak = m, len(m)
}

// shrink does the same for a slice.
func shrink[T any](s []T) []T {
	if cap(s) < 64 || len(s) > cap(s)/4 {
		return s
	}
	return append(make([]T, 0, 2*len(s)), s...)
}
