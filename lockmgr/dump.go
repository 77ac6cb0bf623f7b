package lockmgr

import (
	"fmt"
	"io"
)

// Dump writes the whole state as text for people and for tests, in one call of w.Write. Times are those since boot.
func (m *Manager) Dump(w io.Writer) error {
	b := fmt.Appendf(nil, "last token %d, mark %d\n", m.last, m.mark)
	for v := range m.All() {
		b = appendView(b, v)
	}
	_, err := w.Write(b)
	return err
}

func appendView(b []byte, v View) []byte {
	b = fmt.Appendf(b, "lock %q\n", v.Name)
	for _, c := range v.Holders {
		b = fmt.Appendf(b, "  held with token %d by #%d: %s, %s", c.Token, c.ID, c.Mode, c.Owner)
		if c.Bind == ToConnection {
			b = fmt.Appendf(b, ", connection %d", c.Conn)
		}
		b = appendInfo(fmt.Appendf(b, ", since %s", c.Since.Boot), c.Info)
	}
	for i, c := range v.Waiters {
		b = fmt.Appendf(b, "  %d. waits #%d: %s, %s, connection %d", i+1, c.ID, c.Mode, c.Owner, c.Conn)
		if c.Bind == ToProcess {
			b = append(b, ", for the process"...)
		}
		b = fmt.Appendf(b, ", since %s", c.Since.Boot)
		if end := deadline(c.Since, c.Wait); end != never {
			b = fmt.Appendf(b, ", until %s", end)
		}
		b = appendInfo(b, c.Info)
	}
	b = appendEnd(b, "previous", v.Previous)
	return appendEnd(b, "abandoned, nobody told", v.Abandoned)
}

func appendInfo(b []byte, i Info) []byte {
	b = fmt.Appendf(b, ", uid %d", i.UID)
	if i.Unit != "" {
		b = fmt.Appendf(b, ", unit %q", i.Unit)
	}
	if i.Why != "" {
		b = fmt.Appendf(b, ": %q", i.Why)
	}
	return append(b, '\n')
}

func appendEnd(b []byte, what string, e *End) []byte {
	if e == nil {
		return b
	}
	b = fmt.Appendf(b, "  %s: token %d, %s, %s at %s", what, e.Token, e.Owner, e, e.At.Boot)
	return appendInfo(b, e.Info)
}
