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
	b = fmt.Appendf(b, "lock %q", v.Name)
	if v.Limit > 1 {
		b = fmt.Appendf(b, ", %d of %d", v.Used, v.Limit)
	}
	b = append(b, '\n')
	for _, c := range v.Holders {
		verb := "held"
		if c.Joined {
			verb = "joined"
		}
		b = fmt.Appendf(b, "  %s with token %d by #%d: ", verb, c.Token, c.ID)
		b = appendWhat(b, c, v.Limit)
		if c.Bind == ToConnection {
			b = fmt.Appendf(b, ", connection %d", c.Conn)
		}
		if c.Entries > 1 {
			b = fmt.Appendf(b, ", %d entries", c.Entries)
		}
		b = fmt.Appendf(b, ", since %s", c.Since.Boot)
		if c.Expires > 0 {
			b = fmt.Appendf(b, ", until %s", c.Expires)
		}
		if c.Untold {
			b = append(b, ", untold"...)
		}
		b = appendInfo(b, c.Info)
	}
	for i, c := range v.Waiters {
		b = fmt.Appendf(b, "  %d. waits #%d: ", i+1, c.ID)
		b = appendWhat(b, c, v.Limit)
		b = fmt.Appendf(b, ", connection %d", c.Conn)
		if c.Bind != ToConnection {
			b = fmt.Appendf(b, ", bound to %s", c.Bind)
		}
		if c.Set != nil {
			b = fmt.Appendf(b, ", together %q", c.Set)
		}
		for _, s := range c.Shown {
			b = fmt.Appendf(b, ", for %q %d", s.Name, s.Token)
		}
		b = fmt.Appendf(b, ", since %s", c.Since.Boot)
		if end := waitEnds(c.Since, c.Wait); end != never {
			b = fmt.Appendf(b, ", until %s", end)
		}
		if c.Untold {
			b = append(b, ", untold"...)
		}
		b = appendInfo(b, c.Info)
	}
	b = appendEnd(b, "previous", v.Previous)
	b = appendEnd(b, "abandoned, nobody told", v.Abandoned)
	for e := v.Abandoned; e != nil && e.Before != nil; e = e.Before {
		b = appendEnd(b, "or else abandoned", e.Before)
	}
	return b
}

// appendWhat says what a claim is for, and whose.
func appendWhat(b []byte, c Claim, limit int) []byte {
	if c.Mode == Exclusive && c.Units < limit {
		return fmt.Appendf(b, "%d units, %s", c.Units, c.Owner)
	}
	return fmt.Appendf(b, "%s, %s", c.Mode, c.Owner)
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
	b = fmt.Appendf(b, "  %s: token %d, %s, %s", what, e.Token, e.Owner, e)
	if e.By != nil {
		b = fmt.Appendf(b, " by process %d", e.By.Process.PID)
	}
	return appendInfo(fmt.Appendf(b, " at %s", e.At.Boot), e.Info)
}
