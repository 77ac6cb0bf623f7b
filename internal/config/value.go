package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/ipcd/ipcd/internal/timespan"
	"github.com/ipcd/ipcd/ipc/wire"
)

// value is a field of a Config, as the file writes it.
type value interface {
	// set takes what TOML made of the file: string, int64, float64, bool, time.Time, []any or map[string]any. It leaves
	// the field alone and returns a predicate ("must be …, not …") unless the field can have that value.
	set(v any) error
	// String is the present value as TOML, such that set accepts it.
	String() string
}

type (
	count struct {
		p        *int
		min, max int
	}
	size struct {
		p        *int
		min, max int
	}
	duration struct {
		p        *time.Duration
		min, max time.Duration // min 0: it may be off
	}
	level struct{ p *slog.Level }
	path  struct{ p *string }
	mode  struct{ p *fs.FileMode }
	group struct{ p *string }

	// A semaphore is a row of a table whose keys are not ours: there is one for each name that the file has.
	semaphore struct {
		all  map[string]int
		name string
	}
)

func (c count) String() string { return strconv.Itoa(*c.p) }

func (c count) set(v any) error {
	n, ok := v.(int64)
	if !ok {
		return mustBe("a whole number", v)
	}
	if n < int64(c.min) || n > int64(c.max) {
		return fmt.Errorf("must be from %d to %d, not %d", c.min, c.max, n)
	}
	*c.p = int(n)
	return nil
}

// Only units that mean one thing to everybody: M alone is 1000² to Redis and 1024² to systemd, and mb is 1024² to Redis.
var units = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

func (s size) String() string { return formatSize(*s.p) }

// formatSize writes n with the largest binary unit that divides it.
func formatSize(n int) string {
	for _, u := range units[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.Quote(strconv.Itoa(n/u.bytes) + u.name)
		}
	}
	return strconv.Itoa(n)
}

func (s size) set(v any) error {
	const want = `a number of bytes or a size such as "64KiB" or "1MB"`
	var n int64
	unit := 1
	switch v := v.(type) {
	case int64:
		n = v
	case string:
		digits := v
		for _, u := range units {
			if rest, ok := strings.CutSuffix(v, u.name); ok {
				digits, unit = strings.TrimSuffix(rest, " "), u.bytes
				break
			}
		}
		var err error
		if n, err = strconv.ParseInt(digits, 10, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
			return mustBe(want, v)
		}
	default:
		return mustBe(want, v)
	}
	// Dividing the bounds, because multiplying n could overflow.
	if n > int64(s.max/unit) || n < int64((s.min+unit-1)/unit) {
		return fmt.Errorf("must be from %s to %s, not %s", formatSize(s.min), formatSize(s.max), describe(v))
	}
	*s.p = int(n) * unit
	return nil
}

func (d duration) String() string {
	if *d.p == 0 {
		return `"off"`
	}
	text := strings.Replace(d.p.String(), "µ", "u", 1)
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return strconv.Quote(text)
}

func (d duration) set(v any) error {
	want := `a time with its unit such as "50us", "2s" or "24h"`
	if d.min == 0 {
		want += `, or "off"`
	}
	switch v := v.(type) {
	case int64:
		if v != 0 || d.min > 0 { // systemd reads seconds, Redis milliseconds, Go nanoseconds.
			return mustBe(want, v)
		}
		*d.p = 0
	case string:
		if v == "off" && d.min == 0 {
			*d.p = 0
			return nil
		}
		t, ok := timespan.Parse(v, 0)
		if !ok {
			return mustBe(want, v)
		}
		if t < d.min || t > d.max {
			return fmt.Errorf("must be from %v to %v, not %q", d.min, d.max, v)
		}
		*d.p = t
	default:
		return mustBe(want, v)
	}
	return nil
}

// The names are syslog's, where they are not everybody's.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
}

func (l level) String() string {
	for name, at := range levels {
		if at == *l.p {
			return strconv.Quote(name)
		}
	}
	return strconv.Quote(l.p.String())
}

func (l level) set(v any) error {
	s, _ := v.(string)
	at, ok := levels[s]
	if !ok {
		return mustBe(`"debug", "info", "warning" or "error"`, v)
	}
	*l.p = at
	return nil
}

// MaxPath is what sockaddr_un has room for, in bytes, less the NUL that other programs expect.
const MaxPath = 107

func (p path) String() string { return strconv.Quote(*p.p) }

func (p path) set(v any) error {
	s, ok := v.(string)
	switch {
	case !ok || !strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/"):
		return mustBe("the absolute path of a socket", v)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("must not contain control characters: %q", s)
	case len(s) > MaxPath:
		return fmt.Errorf("must be at most %d bytes, not %d: %q", MaxPath, len(s), s)
	}
	*p.p = s
	return nil
}

func (m mode) String() string { return fmt.Sprintf(`"%04o"`, *m.p) }

func (m mode) set(v any) error {
	// Only a string: the number 660 would be decimal, and mean 01224.
	s, ok := v.(string)
	n, err := strconv.ParseUint(s, 8, 32)
	if !ok || err != nil || len(s) < 3 || len(s) > 4 || n > 0o777 {
		return mustBe(`a string of octal digits from "0000" to "0777"`, v)
	}
	*m.p = fs.FileMode(n)
	return nil
}

func (g group) String() string { return strconv.Quote(*g.p) }

func (g group) set(v any) error {
	const want = "the name or number of a group"
	switch v := v.(type) {
	case int64:
		if v < 0 || v >= 1<<32-1 { // The last one means "unchanged" to chown(2).
			return mustBe(want, v)
		}
		*g.p = strconv.FormatInt(v, 10)
	case string:
		if len(v) > 255 || strings.HasPrefix(v, "-") || strings.ContainsFunc(v, notInGroupName) {
			return mustBe(want, v)
		}
		if strings.Trim(v, "0123456789") == "" && v != "" {
			if n, err := strconv.ParseUint(v, 10, 32); err != nil || n == 1<<32-1 {
				return mustBe(want, v)
			}
		}
		*g.p = v
	default:
		return mustBe(want, v)
	}
	return nil
}

func notInGroupName(r rune) bool {
	return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(":,/", r)
}

func (s semaphore) String() string { return strconv.Itoa(s.all[s.name]) }

func (s semaphore) set(v any) error {
	var n int
	err := count{&n, 1, wire.MaxUnits}.set(v)
	if err == nil {
		s.all[s.name] = n
	}
	return err
}

func mustBe(want string, v any) error { return fmt.Errorf("must be %s, not %s", want, describe(v)) }

// describe shows a scalar, and says what anything else is.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		if len(v) > 100 {
			return "a string of " + strconv.Itoa(len(v)) + " bytes"
		}
		return strconv.Quote(v)
	case float64:
		return "a floating-point number"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "an array"
	default:
		return fmt.Sprint(v)
	}
}
