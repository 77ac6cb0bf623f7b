package term

import (
	"strconv"
	"time"
)

// Spoken gives a duration as one would say it: the exact one that a user typed, 1m or 300ms.
func Spoken(d time.Duration) string {
	if d < time.Minute || d%time.Second != 0 {
		return d.String()
	}
	return Age(d)
}

// Age gives the two most significant units of a duration: 38s, 4m12s, 5m, 2h3m, 3d4h.
func Age(d time.Duration) string {
	seconds := max(int64(d/time.Second), 0)
	units := [...]struct {
		name byte
		size int64
	}{{'d', 24 * 60 * 60}, {'h', 60 * 60}, {'m', 60}, {'s', 1}}
	for i, u := range units {
		if seconds < u.size && u.size > 1 {
			continue
		}
		b := append(strconv.AppendInt(nil, seconds/u.size, 10), u.name)
		if i+1 < len(units) {
			next := units[i+1]
			if rest := seconds % u.size / next.size; rest > 0 {
				b = append(strconv.AppendInt(b, rest, 10), next.name)
			}
		}
		return string(b)
	}
	return "0s"
}

// Clock is a time as one says it today: the date only if it is another day's.
func Clock(t time.Time) string {
	if today := time.Now().Format(time.DateOnly); t.Format(time.DateOnly) == today {
		return t.Format("15:04")
	}
	return t.Format("2006-01-02 15:04")
}
