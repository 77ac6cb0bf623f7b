package record

import (
	"fmt"
	"slices"
)

// A Done says that something was done, in a period. It is a line of a file.
type Done struct {
	Key    string `json:"key"`
	Per    string `json:"per"`              // one of Periods
	Period string `json:"period,omitempty"` // the id of the boot, or the date; "" for ever
	At     int64  `json:"at"`               // microseconds since 1970
	UID    uint32 `json:"uid"`
	PID    int    `json:"pid"`
}

// The kinds of periods.
const (
	PerBoot = "boot"
	PerDay  = "day"
	PerEver = "ever"
)

// Periods are all kinds of periods.
var Periods = []string{PerBoot, PerDay, PerEver}

// CheckDone tells whether lines can be what a daemon wrote.
func CheckDone(lines []Done) error {
	for i := range lines {
		d := &lines[i]
		if err := checkLock(d.Key); err != nil {
			return err
		}
		if !slices.Contains(Periods, d.Per) {
			return fmt.Errorf("%q is done per %q", d.Key, d.Per)
		}
	}
	return nil
}
