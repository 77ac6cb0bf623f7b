package account

import (
	"fmt"
	"time"
)

// A Book has the accounts of all users.
type Book struct {
	Limits Limits        // may change at any time
	Slice  time.Duration // how much of a turn a user may spend on costly commands before he has to wait for the next
	Verify bool          // panic if a user is forgotten who is not at zero in every column

	users    map[uint32]*User
	spenders []*User // those who have spent something in this turn
	endless  bool    // there is no next turn to wait for: see Unbound
}

// A User is what there is of one uid.
type User struct {
	uid   uint32
	book  *Book
	used  [columns]int
	ties  int           // what he is remembered for. Invariant: above 0 while he is in the book, but between Of and what it is for
	spent time.Duration // of this turn
}

// Of is the account of a uid, made if need be: it lasts if something is charged to it.
func (b *Book) Of(uid uint32) *User {
	u := b.users[uid]
	if u == nil {
		u = &User{uid: uid, book: b}
		if b.users == nil {
			b.users = map[uint32]*User{}
		}
		b.users[uid] = u
	}
	return u
}

// Find is the account of a uid, nil if there is none.
func (b *Book) Find(uid uint32) *User { return b.users[uid] }

// Room is that of a user who need not have an account yet.
func (b *Book) Room(uid uint32, c Column, more int) error {
	u := b.Find(uid)
	if u == nil {
		u = &User{uid: uid, book: b}
	}
	return u.Room(c, more)
}

// UID is whose account it is.
func (u *User) UID() uint32 { return u.uid }

// Used is how much a user has of something.
func (u *User) Used(c Column) int { return u.used[c] }

// Exceeds reports whether so much more of something would be more than a user may have, whatever it is a part of.
func (u *User) Exceeds(c Column, more int) bool {
	return u.used[c]+more > u.book.Limits[c] && (u.uid != root || !table[c].sparesRoot)
}

const root = 0

// Room is nil if a user may have so much more of something, else an [Excess]: of what it is a part of, before itself.
func (u *User) Room(c Column, more int) error {
	if whole := table[c].within; whole != 0 {
		if err := u.Room(whole, more); err != nil {
			return err
		}
	}
	if u.Exceeds(c, more) {
		return &Excess{u.uid, c, u.used[c], u.book.Limits[c]}
	}
	return nil
}

// Charge charges a user for something. The charge has to be released.
func (u *User) Charge(c Column, n int) Charge {
	charge := Charge{user: u, column: c}
	charge.Set(n)
	return charge
}

// Count counts n things more of those that an engine keeps, or less.
func (u *User) Count(c Column, n int) {
	u.add(c, n)
	u.tie(n)
}

func (u *User) add(c Column, n int) {
	for ; c != 0; c = table[c].within {
		u.used[c] += n
	}
}

// tie takes note of n reasons more to remember a user, or less.
func (u *User) tie(n int) {
	if u.ties += n; u.ties > 0 {
		return
	}
	b := u.book
	if b.users[u.uid] == u {
		delete(b.users, u.uid)
	}
	if b.Verify && (u.ties < 0 || u.used != [columns]int{}) {
		panic(fmt.Sprintf("user %d is forgotten, and is charged for something: %v (%d)", u.uid, u.used, u.ties))
	}
}

// A Charge is what something costs a user. The zero Charge is nobody's, and costs nothing.
type Charge struct {
	user   *User
	amount uint32
	column Column
}

// User is who is charged.
func (c *Charge) User() *User { return c.user }

// Amount is how much is charged.
func (c *Charge) Amount() int { return int(c.amount) }

// Set has a charge be n from now on.
func (c *Charge) Set(n int) {
	before := int(c.amount)
	if n == before {
		return
	}
	c.amount = uint32(n)
	c.user.add(c.column, n-before)
	switch {
	case before == 0:
		c.user.tie(1)
	case n == 0:
		c.user.tie(-1)
	}
}

// Grow adds to a charge.
func (c *Charge) Grow(n int) { c.Set(int(c.amount) + n) }

// Release ends a charge: all is given back.
func (c *Charge) Release() { c.Set(0) }

// Spend adds to the time that a user has had of this turn.
func (u *User) Spend(d time.Duration) {
	if u.spent == 0 {
		u.book.spenders = append(u.book.spenders, u)
		u.tie(1)
	}
	u.spent += max(d, 1) // however quick it was, it was something
}

// Spent is how much time a user has had of this turn.
func (u *User) Spent() time.Duration { return u.spent }

// Overspent reports whether a user has had his time in this turn: who has many connections does not have as many slices of it.
func (u *User) Overspent() bool { return u.spent > u.book.Slice && !u.book.endless }

// AnySpent reports whether anybody has spent something in this turn.
func (b *Book) AnySpent() bool { return len(b.spenders) > 0 }

// EndTurn has all users begin anew.
func (b *Book) EndTurn() {
	for i, u := range b.spenders {
		b.spenders[i] = nil
		u.spent = 0
		u.tie(-1)
	}
	b.spenders = b.spenders[:0]
}

// Unbound has nobody be told to wait any more for a later turn: there may be none.
func (b *Book) Unbound() { b.endless = true }

// Len is how many users are remembered.
func (b *Book) Len() int { return len(b.users) }

// Total is how much all users have of something.
func (b *Book) Total(c Column) (n int) {
	for _, u := range b.users {
		n += u.used[c]
	}
	return n
}
