package account

import "fmt"

// A Count is what there is of each user, as somebody has found it who looked at all of it.
type Count map[uint32]*[columns]int

// Add adds what was found: n of a column, and of what that is a part of.
func (f Count) Add(uid uint32, c Column, n int) {
	found := f[uid]
	if found == nil {
		found = new([columns]int)
		f[uid] = found
	}
	for ; c != 0; c = table[c].within {
		found[c] += n
	}
}

// Mismatch says where the accounts differ from what was found; nil if they do not.
func (b *Book) Mismatch(found Count) error {
	for uid, f := range found {
		if *f != [columns]int{} && b.users[uid] == nil {
			return fmt.Errorf("user %d has something, and no account", uid)
		}
	}
	for uid, u := range b.users {
		f := found[uid]
		if f == nil {
			f = new([columns]int)
		}
		for c := Column(1); c < columns; c++ {
			if u.used[c] != f[c] {
				return fmt.Errorf("user %d is charged for %d %v, and has %d", uid, u.used[c], c, f[c])
			}
		}
		if u.ties <= 0 {
			return fmt.Errorf("user %d is remembered for nothing", uid)
		}
	}
	return nil
}
