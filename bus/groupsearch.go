package bus

import "github.com/ipcd/ipcd/internal/list"

// Search returns the groups whose filters match what has to be a topic: those of the topic itself, then by the age of filter and group. If so
// many steps are not enough, it returns none, and a search that goes on. The slice is to be read only, and until the next call.
func (g *Groups[S, M]) Search(topic []byte, most int) (found []*Group[S, M], rest *GroupSearch[S, M]) {
	routes, search, _ := g.pools.byFilter.SearchTopic(topic, most) // which is one
	if search != nil {
		return nil, &GroupSearch[S, M]{search: search, age: g.pools.byFilter.Age()}
	}
	g.found = emptied(g.found)
	for _, r := range routes {
		g.found = append(g.found, r.Subs()...)
	}
	return g.found, nil
}

// A GroupSearch goes on to find the groups that have a message: see [Search].
type GroupSearch[S comparable, M any] struct {
	search *Search[*Group[S, M]]
	age    uint64
	found  []*Group[S, M]
}

// Next does at most so many steps, and returns the groups that these have led to, of those that were there when the search was begun. more
// says that there is more to be done. The slice is to be read only, and until the next call.
func (x *GroupSearch[S, M]) Next(most int) (found []*Group[S, M], more bool) {
	routes, more := x.search.Next(most)
	x.found = emptied(x.found)
	for _, r := range routes {
		x.found = append(x.found, r.SubsAt(x.age)...)
	}
	return x.found, more
}

// MayReceive reports whether s is a member of a group that a message of a topic is for. It looks at no more memberships than the budget has
// left, and says yes if there are more.
func (g *Groups[S, M]) MayReceive(s S, topic []byte, budget *int) (may bool) {
	t := g.takers.get(s)
	if t == nil {
		return false
	}
	for _, c := range []*list.List[sharer[S, M]]{&t.members, &t.out} {
		for m := c.First; m != nil && !may; m = m.ofTaker.Next {
			*budget--
			may = *budget < 0 || Match(m.group.of.Filter, topic)
		}
	}
	return may
}
