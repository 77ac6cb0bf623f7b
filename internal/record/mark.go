package record

import (
	"fmt"

	"github.com/ipcd/ipcd/lockmgr"
)

// A Mark is the token up to which they may have been given. It is also in the state directory, which may be lost or not be
// written any more.
type Mark struct{ Token lockmgr.Token }

func (m *Mark) Subject() Subject { return Subject{Kind: KindMark} }
func (m *Mark) Key() string      { return kinds[KindMark].name }
func (m *Mark) Over() bool       { return false }

func (m *Mark) Append(b []byte) []byte {
	return appendFields(appendHead(b, KindMark), markFields, m)
}

func readMark(r *reader) (Record, error) {
	m, err := readAll(r, markFields)
	if err != nil {
		return nil, fmt.Errorf("mark: %w", err)
	}
	return m, nil
}

var markFields = []field[Mark]{
	number("token", func(m *Mark) *lockmgr.Token { return &m.Token }),
}

func (m *Mark) check() error {
	if m.Token == 0 || m.Token > lockmgr.MaxToken {
		return fmt.Errorf("no mark: %d", m.Token)
	}
	return nil
}
