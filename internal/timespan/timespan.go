// Package timespan reads spans of time as people write them, for the command line and for the configuration alike.
package timespan

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Parse understands numbers, also decimal, with units: 300ms, 5min, 2h30m, 1d. A last number without one counts in bare; if that
// is 0, it must have one. Nothing is negative.
func Parse(s string, bare time.Duration) (time.Duration, bool) {
	sum := time.Duration(0)
	for rest := s; rest != ""; {
		number := rest[:span(rest, true)]
		rest = rest[len(number):]
		unit := rest[:span(rest, false)]
		rest = rest[len(unit):]
		size := bare
		if unit != "" {
			size = sizeOf(unit)
		}
		d, ok := times(number, size)
		if !ok || d > math.MaxInt64-sum {
			return 0, false
		}
		sum += d
	}
	return sum, s != ""
}

// span is how many bytes of a number a text begins with, or how many that are none.
func span(s string, numeric bool) int {
	i := 0
	for i < len(s) && (s[i] == '.' || '0' <= s[i] && s[i] <= '9') == numeric {
		i++
	}
	return i
}

// times multiplies a unit with a number of digits and dots. The whole part is exact.
func times(number string, unit time.Duration) (time.Duration, bool) {
	whole, fraction, _ := strings.Cut(number, ".")
	if unit == 0 || whole+fraction == "" {
		return 0, false
	}
	n, err := strconv.ParseUint("0"+whole, 10, 63)
	if err != nil || n > uint64(math.MaxInt64/unit) {
		return 0, false
	}
	part, err := strconv.ParseFloat("0."+fraction+"0", 64) // fails for a second dot
	d, rest := time.Duration(n)*unit, time.Duration(math.Round(part*float64(unit)))
	return d + rest, err == nil && rest <= math.MaxInt64-d
}

// sizeOf is what a number's unit counts: one of Go's, or of those by which systemd calls the same. It is 0 for what is none.
// (A map would be made at every start of ipcctl.)
func sizeOf(unit string) time.Duration {
	const day = 24 * time.Hour
	switch unit {
	case "us", "µs", "μs", "usec":
		return time.Microsecond
	case "ms", "msec":
		return time.Millisecond
	case "s", "sec":
		return time.Second
	case "m", "min":
		return time.Minute
	case "h", "hr":
		return time.Hour
	case "d", "day":
		return day
	case "w", "week":
		return 7 * day
	}
	return 0
}
