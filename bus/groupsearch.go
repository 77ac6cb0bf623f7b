package bus

import "slices"

// Search returns the groups whose filters match what has to be a topic: those of the topic itself, then by the age of filter and group. If so
// many steps are not enough, or there are more groups, it returns none, and a search that goes on. The slice is to be read only, and until the
// next call.
func (g *Groups[S, M]) Search(topic []byte, most int) (found []*Group[S, M], rest *GroupSearch[S, M]) {
	routes, search, _ := g.pools.byFilter.SearchTopic(topic, most) // which is one
	n := 0
	for _, r := range routes {
		n += r.Len()
	}
	if search != nil || n > most {
		return nil, &GroupSearch[S, M]{search: search, routes: slices.Clone(routes), age: g.pools.byFilter.Age()}
	}
	g.found = emptied(g.found)
	for _, r := range routes {
		g.found = append(g.found, r.Subs()...)
	}
	return g.found, nil
}

// A GroupSearch goes on to find the groups that have a message: see [Search].
type GroupSearch[S comparable, M any] struct {
	search *Search[*Group[S, M]]  // nil: all filters are found
	routes []*Route[*Group[S, M]] // the filters that are found, of whose groups not all are
	after  uint64                 // of the first of these: what had joined by then is found
	age    uint64
	found  []*Group[S, M]
}

// Next does at most so many steps, and returns the groups that these have led to, as many at most, of those that were there when the search was
// begun. more says that there is more to be done. The slice is to be read only, and until the next call.
func (x *GroupSearch[S, M]) Next(most int) (found []*Group[S, M], more bool) {
	if len(x.routes) == 0 && x.search != nil {
		if x.routes, more = x.search.Next(most); !more {
			x.search = nil
		}
	}
	clear(x.found)
	x.found = x.found[:0]
	for most > 0 && len(x.routes) > 0 {
		if x.found, x.after, most = x.routes[0].appendSome(x.found, x.after, x.age, most); most > 0 {
			x.routes, x.after = x.routes[1:], 0
		}
	}
	return x.found, len(x.routes) > 0 || x.search != nil
}
