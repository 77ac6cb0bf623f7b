package bus

import "reflect"

// shrinkingMap is a map that becomes smaller again: Go's keeps the room of the most elements that it ever held, here for as
// long as one subscriber stays. When three of four elements have gone, the rest moves into a new map: some of it with each change
// that follows, so that no change takes time by the size of the map.
//
// Invariant: no key is in both maps.
type shrinkingMap[K comparable, V any] struct {
	m    map[K]V     // nil: empty
	old  *move[K, V] // what has not moved to m yet; nil: nothing
	peak int         // the most elements since m was made
	keep int         // up to this peak, a map that is empty is kept for what comes next: for those that are few
}

// A move is a map whose elements move to another. To range over it again and again would begin anew each time, and look for the
// last elements among very many empty places; reflect has an iterator that goes on where it was.
type move[K comparable, V any] struct {
	m    map[K]V
	next *reflect.MapIter
}

// movedAtOnce is how many elements move with one change.
const movedAtOnce = 2

func (s *shrinkingMap[K, V]) len() int {
	if s.old != nil {
		return len(s.m) + len(s.old.m)
	}
	return len(s.m)
}

func (s *shrinkingMap[K, V]) get(k K) V {
	v, ok := s.m[k]
	if !ok && s.old != nil {
		v = s.old.m[k]
	}
	return v
}

// find is get by a key of bytes, of which no string is made.
func find[V any](s *shrinkingMap[string, V], k []byte) V {
	v, ok := s.m[string(k)]
	if !ok && s.old != nil {
		v = s.old.m[string(k)]
	}
	return v
}

// all calls f with every key and value until it returns false.
func (s *shrinkingMap[K, V]) all(f func(K, V) bool) {
	for k, v := range s.m {
		if !f(k, v) {
			return
		}
	}
	if s.old == nil {
		return
	}
	for k, v := range s.old.m {
		if !f(k, v) {
			return
		}
	}
}

func (s *shrinkingMap[K, V]) set(k K, v V) {
	if s.m == nil {
		s.m = map[K]V{}
	}
	if s.old != nil {
		delete(s.old.m, k)
		s.move()
	}
	s.m[k] = v
	s.peak = max(s.peak, s.len())
}

func (s *shrinkingMap[K, V]) delete(k K) {
	delete(s.m, k)
	if s.old != nil {
		delete(s.old.m, k)
		s.move()
	}
	switch {
	case s.len() == 0 && (s.peak > s.keep || s.old != nil):
		*s = shrinkingMap[K, V]{keep: s.keep}
	case s.old == nil && s.peak >= 64 && len(s.m) <= s.peak/4:
		s.old = &move[K, V]{s.m, reflect.ValueOf(s.m).MapRange()}
		s.m, s.peak = map[K]V{}, len(s.m)
	}
}

// move moves some elements to the new map.
func (s *shrinkingMap[K, V]) move() {
	for range movedAtOnce {
		if !s.old.next.Next() {
			s.old = nil
			return
		}
		var k K
		reflect.ValueOf(&k).Elem().SetIterKey(s.old.next)
		s.m[k] = s.old.m[k]
		delete(s.old.m, k)
	}
}

// shrink makes a slice smaller when three of four elements have gone.
func shrink[T any](s []T) []T {
	if cap(s) < 64 || len(s) > cap(s)/4 {
		return s
	}
	return append(make([]T, 0, 2*len(s)), s...)
}
