package process

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMembers: a process counts that is in the cgroup while its pidfd is open. A number that another process has by now is not one.
func TestMembers(t *testing.T) {
	parent := int64(os.Getppid())
	uid := realUser(parent)
	is, none := fmt.Sprintf("0\n%d\n%d\n", os.Getpid(), parent), "0\n"
	for _, c := range []struct {
		first, second string
		uid           int64
		found         bool
	}{
		{is, is, uid, true},
		{is, is, 0, true},
		{is, is, uid + 1, false},
		{is, none, uid, false},
		{none, is, uid, false},
	} {
		looks := []string{c.first, c.second}
		seen := map[int64]bool{}
		fds := members(func() []byte {
			look := looks[0]
			looks = looks[1:]
			return []byte(look)
		}, c.uid, seen)
		for _, fd := range fds {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
		if len(fds) != len(seen) || seen[parent] != c.found {
			t.Errorf("%q then %q, of user %d: found %d, seen %v", c.first, c.second, c.uid, len(fds), slices.Collect(numbers([]byte(c.first))))
		}
	}
}
