package bus

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Dump writes the whole state in a form made for eyes and tests: a line for each group, with those who can take something, the first
// whose turn it is, with how much each was given that it has not been sent, and how much more it takes, if it has said that; those who
// cannot; and what waits, the oldest first.
func (g *Groups[S, M]) Dump(w io.Writer) error {
	var out strings.Builder
	for _, group := range g.sorted() {
		fmt.Fprintf(&out, "group %s:", group.of)
		for _, m := range group.members.sorted() {
			fmt.Fprintf(&out, " %v/%d", m.taker.who, m.load)
			if m.limited {
				fmt.Fprintf(&out, "(takes %d)", m.left)
			}
			if !m.taker.free {
				out.WriteString("(busy)")
			}
		}
		if n := group.len - group.members.Len(); n > 0 {
			fmt.Fprintf(&out, " and %d out", n)
		}
		if group.lost > 0 {
			fmt.Fprintf(&out, ", %d lost", group.lost)
		}
		if group.queue.Len > 0 {
			fmt.Fprintf(&out, ", %d bytes wait:", group.bytes)
		}
		group.queue.All(ofParcel[S, M], func(p *parcel[S, M]) bool {
			fmt.Fprintf(&out, " %v", p.message)
			return true
		})
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// sorted are all groups by the age of filter and group.
func (g *Groups[S, M]) sorted() (all []*Group[S, M]) {
	for _, route := range g.pools.byFilter.sorted() {
		all = append(all, route.Subs()...)
	}
	return all
}

func (g *Groups[S, M]) verify() {
	if !g.Verify {
		return
	}
	if err := g.check(); err != nil {
		panic("bus: invariant broken: " + err.Error())
	}
}

// check says which invariant does not hold, if one does not.
func (g *Groups[S, M]) check() error {
	for _, f := range []func() error{g.pools.byFilter.check, g.checkGroups, g.checkTakers, g.checkSpare} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// checkSpare: what is spare is in no list, or it would not stay empty.
func (g *Groups[S, M]) checkSpare() error {
	if !g.spare.Check() {
		return errors.New("a parcel that is spare is not as if it were new")
	}
	return nil
}

// checkGroups: every group is found by what it shares and by its filter, has members, is ready if somebody may take what it has, and
// has no more than it may if nobody can.
func (g *Groups[S, M]) checkGroups() error {
	all, ready := g.sorted(), 0
	if len(all) != g.pools.all.len() {
		return fmt.Errorf("%d groups are found by filter, %d by name", len(all), g.pools.all.len())
	}
	for _, group := range all {
		bytes := 0
		group.queue.All(ofParcel[S, M], func(p *parcel[S, M]) bool {
			bytes += p.size
			return p.member == nil && p.group == group
		})
		candidates := group.members.Len()
		switch {
		case g.pools.all.get(group.of) != group || group.len < max(candidates, 1) || !group.members.check():
			return fmt.Errorf("the group %s is not in order", group.of)
		case bytes != group.bytes || !group.queue.Check(ofParcel[S, M]):
			return fmt.Errorf("%d bytes wait in %s, counted %d", bytes, group.of, group.bytes)
		case group.isReady != (candidates > 0 && group.queue.Len > 0):
			return fmt.Errorf("the group %s is ready: %v", group.of, group.isReady)
		case candidates == 0 && (group.queue.Len > g.MostQueued || group.bytes > g.MostBytes): // of Keep, the answer may be another by now
			return fmt.Errorf("%d messages of %d bytes wait in %s", group.queue.Len, group.bytes, group.of)
		}
		if group.isReady {
			ready++
		}
	}
	if ready != g.ready.Len || !g.ready.Check(inReady[S, M]) {
		return fmt.Errorf("%d groups are ready, counted %d", ready, g.ready.Len)
	}
	return nil
}

// checkTakers: whoever is known has something; who is out of a ranking cannot take anything, or comes back, and nobody else is.
func (g *Groups[S, M]) checkTakers() (err error) {
	count := map[*Group[S, M]]int{}
	members, back := 0, 0
	for s, t := range g.takers.all {
		if t.who != s || t.members.Len+t.given.Len == 0 {
			return fmt.Errorf("%v is not in order", s)
		}
		if t.isBack {
			back++
		}
		if t.free && t.out.Len > 0 && !t.isBack {
			return fmt.Errorf("%v is free, and does not come back to %d groups", s, t.out.Len)
		}
		if !t.members.Check(ofTaker[S, M]) || !t.out.Check(isOut[S, M]) || !t.given.Check(ofParcel[S, M]) {
			return fmt.Errorf("what %v has is not in order", s)
		}
		given, unsent := map[*sharer[S, M]]int{}, 0
		t.given.All(ofParcel[S, M], func(p *parcel[S, M]) bool {
			given[p.member]++
			if unsent++; p.lost > 0 {
				unsent++
			}
			if p.member.taker != t {
				err = fmt.Errorf("%v was given what is another's", s)
			}
			return err == nil
		})
		if unsent != t.unsent {
			return fmt.Errorf("%v has %d things to be sent, counted %d", s, unsent, t.unsent)
		}
		out := 0
		t.members.All(ofTaker[S, M], func(m *sharer[S, M]) bool {
			if m.taker != t || m.out == (m.place > 0) || g.members.get(memberKey[S]{s, m.group.of}) != m {
				err = fmt.Errorf("%v is in the wrong place of %s", s, m.group.of)
			}
			if m.out && !m.waits && !m.isSated() || m.waits && !m.out || m.left < 0 {
				err = fmt.Errorf("%v takes what comes of %s, and is out: %v", s, m.group.of, m.out)
			}
			if given[m] != m.load {
				err = fmt.Errorf("%v was given %d of %s, counted %d", s, given[m], m.group.of, m.load)
			}
			if m.waits {
				out++
			}
			count[m.group]++
			members++
			return err == nil
		})
		t.out.All(isOut[S, M], func(m *sharer[S, M]) bool {
			if m.taker != t || !m.waits || m.group == nil {
				err = fmt.Errorf("what %v is out of is not in order", s)
			}
			out--
			return err == nil
		})
		if err == nil && out != 0 {
			err = fmt.Errorf("%v is out of %d groups more than are counted", s, out)
		}
		if err != nil {
			return err
		}
	}
	for group, n := range count {
		if group.len != n || g.pools.all.get(group.of) != group {
			return fmt.Errorf("the group %s has %d members, counted %d", group.of, n, group.len)
		}
	}
	if back != g.back.Len || !g.back.Check(inBack[S, M]) {
		return fmt.Errorf("%d come back to groups, counted %d", back, g.back.Len)
	}
	if members != g.members.len() {
		return fmt.Errorf("there are %d members, counted %d", members, g.members.len())
	}
	return nil
}
