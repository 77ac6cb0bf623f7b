package term

import (
	"testing"
	"time"
)

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
