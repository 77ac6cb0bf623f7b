package session

import (
	"testing"
	"unsafe"
)

// TestSessionIsSmall: most connections are idle, and a session is most of what one takes. The allocator rounds its size up, to one
// of its classes.
func TestSessionIsSmall(t *testing.T) {
	const class = 352
	if size := unsafe.Sizeof(Session{}); size > class {
		t.Errorf("a session has %d bytes, over %d: what an idle one need not have hangs on a pointer", size, class)
	}
}
