package loop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBootClock: it never goes back, and stays near the clock that it is made of.
func TestBootClock(t *testing.T) {
	c := newClock()
	first := c.Read()
	last := first
	for last < first+5*bootCheck { // so that it looks several times how long the machine has slept
		now := c.Read()
		if now < last {
			t.Fatalf("%v after %v", now, last)
		}
		last = now
	}
	var ts unix.Timespec
	before := c.Read()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	after := c.Read()
	if boot := time.Duration(ts.Nano()); boot < before-bootCheck || boot > after+bootCheck {
		t.Errorf("%v to %v, the kernel says %v", before, after, boot)
	}

	// The machine sleeps for a minute.
	c.slept -= time.Minute
	c.checked = 0
	last -= time.Minute
	for c.Read() < last+time.Minute {
		if c.Read() < last {
			t.Fatal("it went back")
		}
	}
}
