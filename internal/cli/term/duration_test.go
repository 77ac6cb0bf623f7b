package term

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "0.5": time.Second / 2, ".5": time.Second / 2, "5.": 5 * time.Second,
		"300ms": 300 * time.Millisecond, "2m": 2 * time.Minute, "1h30m": 90 * time.Minute, "1m5": 65 * time.Second,
		"2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "10us": 10 * time.Microsecond,
	} {
		if got, ok := ParseDuration(s); !ok || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "-1", "+1", "x", "5x", "1.5d", "d", "-d", "99999999999h", "1d300000000000s", "1e3", "0x10", "5 s", "NaN", "inf"} {
		if got, ok := ParseDuration(s); ok {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
}

func TestSpokenDurations(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "38s": 38*time.Second + 900*time.Millisecond, "1m": time.Minute, "4m12s": 4*time.Minute + 12*time.Second,
		"5m": 5*time.Minute + 500*time.Millisecond, "2h3m": 2*time.Hour + 3*time.Minute + 50*time.Second,
		"2h": 2*time.Hour + 50*time.Second, "3d4h": 76 * time.Hour,
	} {
		if got := Age(d); got != want {
			t.Errorf("age %v: %s, want %s", d, got, want)
		}
	}
	for want, d := range map[string]time.Duration{
		"300ms": 300 * time.Millisecond, "1.5s": 1500 * time.Millisecond, "1m": time.Minute, "1m30s": 90 * time.Second,
		"1m0.5s": time.Minute + time.Second/2, "2h": 2 * time.Hour,
	} {
		if got := Spoken(d); got != want {
			t.Errorf("spoken %v: %s, want %s", d, got, want)
		}
	}
}
