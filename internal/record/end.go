package record

import (
	"fmt"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/lockmgr"
)

// An End is the abandoned end that the next holder of a lock is to be told of.
type End struct {
	Lock string
	End  *lockmgr.End
}

func (e *End) subject() *Subject { return &Subject{Kind: KindEnd, Lock: e.Lock} }
func (e *End) Subject() Subject  { return *e.subject() }
func (e *End) Key() string       { return e.subject().Key() }
func (e *End) Over() bool        { return false }

func (e *End) Append(b []byte) []byte {
	return appendFields(appendHead(b, KindEnd), lockEndFields, e)
}

func readEnd(r *reader) (Record, error) {
	e, err := readAll(r, lockEndFields)
	if err == nil && e.End == nil {
		err = fmt.Errorf("field %q is missing", "end")
	}
	if err != nil {
		return nil, fmt.Errorf("end: %w", err)
	}
	return e, nil
}

var lockEndFields = []field[End]{
	text("lock", func(e *End) *string { return &e.Lock }),
	group("end", &endFields, func(e *End) **lockmgr.End { return &e.End }),
}

func (e *End) check() error {
	if !e.End.Abandoned() {
		return fmt.Errorf("%v is not abandoned", e.End)
	}
	return checkLock(e.Lock)
}

// MaxLockName is the longest name of a lock, in bytes. It leaves room for what a topic of the lock's events has besides.
const MaxLockName = 200

func checkLock(name string) error { return bus.CheckName("lock name", name, MaxLockName) }
