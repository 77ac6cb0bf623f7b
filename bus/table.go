package bus

// table is a map that becomes smaller again: Go's keeps the room of the most elements that it ever held, here for as
// long as one subscriber stays.
type table[K comparable, V any] struct {
	m    map[K]V // nil: empty
	peak int     // the most elements since m was made
}

func (t *table[K, V]) set(k K, v V) {
	if t.m == nil {
		t.m = map[K]V{}
	}
	t.m[k] = v
	t.peak = max(t.peak, len(t.m))
}

// delete moves the rest into a smaller map when three of four elements have gone: on average that is less than one move
// for each.
func (t *table[K, V]) delete(k K) {
	delete(t.m, k)
	if len(t.m) == 0 {
		*t = table[K, V]{}
		return
	}
	if t.peak < 64 || len(t.m) > t.peak/4 {
		return
	}
	m := make(map[K]V, len(t.m))
	for k, v := range t.m {
		m[k] = v
	}
	t.m, t.peak = m, len(m)
}

// shrink does the same for a slice.
func shrink[T any](s []T) []T {
	if cap(s) < 64 || len(s) > cap(s)/4 {
		return s
	}
	return append(make([]T, 0, 2*len(s)), s...)
}
