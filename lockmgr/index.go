package lockmgr

import "github.com/ipcd/ipcd/internal/list"

// An index has a list for each key. A key whose list is empty is not in it.
type index[K comparable, T any] map[K]list.List[T]

func (x index[K, T]) push(k K, e *T, via func(*T) *list.Link[T]) {
	l := x[k]
	l.Push(e, via)
	x[k] = l
}

func (x index[K, T]) remove(k K, e *T, via func(*T) *list.Link[T]) {
	l := x[k]
	l.Remove(e, via)
	if l.Len == 0 {
		delete(x, k)
		return
	}
	x[k] = l
}
