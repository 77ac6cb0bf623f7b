package record

import (
	"fmt"

	"github.com/ipcd/ipcd/lockmgr"
)

// A Mark is the token up to which they may have been given. It is also in the state directory, which may be lost or not be
// written any more.
type Mark struct{ Token lockmgr.Token }

func (m *Mark) subject() Subject       { return Subject{Kind: KindMark} }
func (m *Mark) append(b []byte) []byte { return appendFields(b, markFields, m) }
func (m *Mark) join(s *State)          { s.mark = m.Token }

var markFields = []field[Mark]{
	number("token", func(m *Mark) *lockmgr.Token { return &m.Token }),
}

func (m *Mark) check() error {
	if m.Token == 0 || m.Token > lockmgr.MaxToken {
		return fmt.Errorf("no mark: %d", m.Token)
	}
	return nil
}
