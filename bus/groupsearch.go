package bus

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
