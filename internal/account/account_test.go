package account

import (
	"strings"
	"testing"
	"time"
)

// TestChargeIsGivenBack: a charge counts in its column and in what that is a part of, and what is released is no more there, nor
// the user.
func TestChargeIsGivenBack(t *testing.T) {
	b := Book{Verify: true}
	in, out := b.Of(1).Charge(Input, 0), b.Of(1).Charge(Output, 7)
	in.Set(100)
	in.Grow(20)
	if u := b.Find(1); u.Used(Buffers) != 127 || u.Used(Input) != 120 || u.Used(Output) != 7 {
		t.Errorf("%v", u.used)
	}
	u := in.User()
	if in.Release(); u.Used(Buffers) != 7 || in.Amount() != 0 || b.Find(1) != u {
		t.Errorf("%v", u.used)
	}
	if in.Release(); u.Used(Buffers) != 7 {
		t.Errorf("%v, after it was released twice", u.used)
	}
	if out.Release(); b.Len() != 0 {
		t.Errorf("%v is remembered", u.used)
	}
}

// TestForgottenAtZero: a user to whom nothing leads any more, and who is charged for something all the same, is found out.
func TestForgottenAtZero(t *testing.T) {
	for name, forget := range map[string]func(*Book){
		"counted off another column": func(b *Book) {
			b.Of(1).Count(Patterns, 1)
			b.Of(1).Count(Subscriptions, -1)
		},
		"counted off too often": func(b *Book) { b.Of(1).Count(Locks, -1) },
		"a copy that is released, too": func(b *Book) {
			c := b.Of(1).Charge(Marks, 2)
			second := c
			c.Release()
			second.Release()
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("nobody has noticed")
				}
			}()
			forget(&Book{Verify: true})
		})
	}
}

// TestMismatch: what is charged for and is not there is found out, and so is what is there and not charged for.
func TestMismatch(t *testing.T) {
	var b Book
	found := Count{}
	check := func(want string) {
		t.Helper()
		got := ""
		if err := b.Mismatch(found); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	check("")
	found.Add(1, Patterns, 1)
	check("user 1 has something, and no account")
	b.Of(1).Count(Patterns, 1)
	check("")
	lost := b.Of(1).Charge(Locks, 1)
	check("user 1 is charged for 1 locks, and has 0")
	lost.Release()
	b.Of(1).Count(Patterns, -1)
	check("user 1 has something, and no account")
	found.Add(1, Patterns, -1)
	check("")
	b.Of(2)
	check("user 2 is remembered for nothing")
}

// TestRoom: who wants more than he may have is told so, of the whole before the part.
func TestRoom(t *testing.T) {
	b := Book{Limits: Limits{Connections: 2, Subscriptions: 3, Patterns: 2, Locks: 3, OperatorLocks: 1, Marks: 1, Buffers: 10, Output: 5}}
	u := b.Of(1000)
	told := func(c Column, more int, want string) {
		t.Helper()
		got := ""
		if err := u.Room(c, more); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%d more %v: %q, want %q", more, c, got, want)
		}
	}
	u.Count(Patterns, 2)
	told(Patterns, 1, "user 1000 has 2 patterns already (limits.patterns_per_user)")
	told(Subscriptions, 1, "")
	u.Count(Subscriptions, 1)
	told(Patterns, 1, "user 1000 has 3 subscriptions already (limits.subscriptions_per_user)")
	u.Count(OperatorLocks, 1)
	told(OperatorLocks, 1, "user 1000 holds or waits for 1 locks FOR nobody already, of at most 1")
	told(Locks, 2, "")
	told(Locks, 3, "user 1000 holds or waits for 1 locks already (limits.locks_per_user)")
	u.Count(Marks, 1)
	told(Marks, 1, "user 1000 has marked 1 things as done: LOCK.FORGET some")
	told(Connections, 2, "")
	told(Connections, 3, "too many connections of this user (limits.connections_per_user)")
	told(Buffers, 11, "this user's connections hold too much (limits.buffers_per_user)")
	if err := b.Room(1001, Marks, 1); err != nil || b.Find(1001) != nil {
		t.Errorf("of one who has nothing: %v, %v", err, b.Find(1001))
	}
	if err := b.Room(root, Connections, 3); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := b.Room(root, Marks, 2); err == nil {
		t.Error("root has no limit")
	}
	b.Limits[Marks] = 2
	told(Marks, 1, "")
}

// TestColumns: each has a name, and a limit in a column is either told to somebody or has a whole that is.
func TestColumns(t *testing.T) {
	for c := Column(1); c < columns; c++ {
		row := table[c]
		if row.name == "" || row.refusal == "" && row.within == 0 || row.within > columns || row.within == c {
			t.Errorf("column %d: %+v", c, row)
		}
		if e := (&Excess{1, c, 2, 3}).Error(); strings.ContainsAny(e, "{}") {
			t.Errorf("%v: %q", c, e)
		}
	}
}

// TestSpend: time that was spent counts in this turn, and is remembered also of who has nothing else any more.
func TestSpend(t *testing.T) {
	b := Book{Slice: time.Second, Verify: true}
	c := b.Of(1).Charge(Connections, 1)
	u := c.User()
	if b.AnySpent() || u.Overspent() {
		t.Error("something is spent")
	}
	u.Spend(time.Second)
	if !b.AnySpent() || u.Overspent() {
		t.Error("a slice may be spent")
	}
	u.Spend(1)
	c.Release()
	c = b.Of(1).Charge(Connections, 1)
	if !c.User().Overspent() {
		t.Error("who connects again may spend anew")
	}
	b.EndTurn()
	if u = c.User(); u.Overspent() || b.AnySpent() {
		t.Error("what was spent in the last turn counts in this one")
	}
	u.Spend(2 * time.Second)
	b.Unbound()
	if u.Overspent() {
		t.Error("somebody has to wait for a turn that may not come")
	}
	c.Release()
	b.EndTurn()
	if b.Len() != 0 {
		t.Error("who has nothing any more is remembered after the turn")
	}
}

func TestLogLimit(t *testing.T) {
	var l LogLimit
	due := func(now time.Duration) (all []string) {
		for topic, n := range l.Due(now) {
			all = append(all, topic.Event, strings.Repeat("+", n))
		}
		return all
	}
	const begun = time.Hour
	for i := range LogBurst + 3 {
		if l.Admit(begun+time.Duration(i), 1, "a") != (i < LogBurst) {
			t.Errorf("record %d", i)
		}
		if next := l.Next(); (next == begun+LogPeriod) != (i >= LogBurst) {
			t.Errorf("after record %d due at %v", i, next)
		}
	}
	if !l.Admit(begun, 2, "a") || !l.Admit(begun, 1, "b") {
		t.Error("another user's, or another kind, is left out")
	}
	if got := due(begun + LogPeriod - 1); got != nil {
		t.Errorf("due too early: %v", got)
	}
	if got := strings.Join(due(begun+LogPeriod), " "); got != "a +++" {
		t.Errorf("%q", got)
	}
	if got := due(begun + 2*LogPeriod); got != nil || l.Next() != 0 || !l.Admit(begun+2*LogPeriod, 1, "a") {
		t.Errorf("after that: %v", got)
	}
}
