package lockmgr_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/ipcd/ipcd/lockmgr"
)

// dump is the whole state of a Manager as text.
func dump(m *lockmgr.Manager) string {
	var b bytes.Buffer
	if err := m.Dump(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// sameAfterReplay reports whether a Manager is in the state that a daemon makes again after a crash, which has a snapshot
// and the effects of each step after it.
func sameAfterReplay(m *lockmgr.Manager, s lockmgr.Snapshot, steps ...[]lockmgr.Effect) error {
	last, mark := m.Tokens()
	again := lockmgr.Restore(s, 0, mark)
	for _, effects := range steps {
		again.Replay(effects)
	}
	if left := again.Effects(); len(left) > 0 {
		return fmt.Errorf("replay has effects of its own: %+v", left)
	}
	if err := again.Check(); err != nil {
		return fmt.Errorf("after replay: %w", err)
	}
	if got, _ := again.Tokens(); got != last {
		return fmt.Errorf("the last token is %d, and after replay %d", last, got)
	}
	if want, got := dump(m), dump(again); want != got {
		diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))
		return fmt.Errorf("the state was (-), and after replay it is (+):\n%s", diff)
	}
	if want, got := m.Snapshot(), again.Snapshot(); !reflect.DeepEqual(want, got) {
		return fmt.Errorf("the snapshot was (-), and after replay it is (+):\n%s", cmp.Diff(want, got))
	}
	return nil
}
