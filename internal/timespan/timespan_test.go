package timespan

import (
	"testing"
	"time"
)

func TestDurationsAsPeopleWriteThem(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "0.5": time.Second / 2, ".5": time.Second / 2, "5.": 5 * time.Second,
		"300ms": 300 * time.Millisecond, "2m": 2 * time.Minute, "1h30m": 90 * time.Minute, "1m5": 65 * time.Second,
		"5min": 5 * time.Minute, "2h30m": 150 * time.Minute, "2h30min": 150 * time.Minute, "90sec": 90 * time.Second, "50usec": 50 * time.Microsecond,
		"1d": 24 * time.Hour, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour, "1w": 168 * time.Hour,
		"1.5h": 90 * time.Minute, "10us": 10 * time.Microsecond, "10µs": 10 * time.Microsecond, "0.1s": 100 * time.Millisecond, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, ok := Parse(s, time.Second); !ok || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{
		"", "-1", "+1", "x", "5x", "d", "-d", ".", ".s", "1.2.3s", "99999999999h", "99999999999999999999s", "106752d", "106751d100h",
		"1d9223372036s", "1e3", "0x10", "5 s", "1h 30m", "NaN", "inf", "5minutes", "1M",
	} {
		if got, ok := Parse(s, time.Second); ok {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
}

func TestNumbersThatMustHaveAUnit(t *testing.T) {
	for _, s := range []string{"5", "0", "1m5", "0.5"} {
		if got, ok := Parse(s, 0); ok {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
	if got, ok := Parse("1m5s", 0); !ok || got != 65*time.Second {
		t.Errorf("1m5s is taken for %v, %v", got, ok)
	}
}
