package record

import (
	"errors"
	"fmt"

	"github.com/ipcd/ipcd/internal/lockname"
	"github.com/ipcd/ipcd/lockmgr"
)

// An End is the abandoned end that the next holder of a lock is to be told of.
type End struct {
	Lock string
	End  *lockmgr.End
}

func (e *End) subject() Subject       { return Subject{Kind: KindEnd, Lock: e.Lock} }
func (e *End) append(b []byte) []byte { return appendFields(b, lockEndFields, e) }
func (e *End) join(s *State)          { s.ends[e.Lock] = e.End }

var lockEndFields = []field[End]{
	text("lock", func(e *End) *string { return &e.Lock }),
	group("end", &endFields, func(e *End) **lockmgr.End { return &e.End }),
}

func (e *End) check() error {
	switch {
	case e.End == nil:
		return errors.New("it says nothing of the end")
	case !e.End.Abandoned():
		return fmt.Errorf("%v is not abandoned", e.End)
	}
	return checkLock(e.Lock)
}

func checkLock(name string) error { return lockname.Check(name) }
