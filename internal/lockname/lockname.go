// Package lockname is the rule for the names of locks, for whoever takes one in: a request, the configuration, a record.
//
// They are UTF-8 without control characters, as topics are. As there are no filters of locks, "+" and "#" mean nothing in them, and
// are allowed: /var/lock/libstdc++.lock is one. See docs/adr/0020-lock-names-are-no-topics.md.
package lockname

import (
	"fmt"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc/wire"
)

// Check reports why name cannot be that of a lock, or nil.
func Check[T ~string | ~[]byte](name T) error {
	if err := bus.CheckName("lock name", name, wire.MaxLockName); err != nil {
		return err
	}
	if len(name) <= wire.MaxLockName/len("%2B") {
		return nil
	}
	if n := len(wire.AppendLockName(nil, string(name))); n > wire.MaxLockName {
		return fmt.Errorf("bad lock name %q…: %d bytes, as %%, + and # count three times; at most %d", string(name[:64]), n, wire.MaxLockName)
	}
	return nil
}
