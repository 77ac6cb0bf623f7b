package process

import (
	"errors"
	"os"
	"testing"
	"time"
)

// A place for one more CMD is waited for until the deadline, and taken if it is free by then.
func TestSlot(t *testing.T) {
	r := &Runner{slots: make(chan struct{}, 1)}
	past := time.Unix(1, 0)
	if err := r.Slot(past); err != nil {
		t.Errorf("a free place: %v", err)
	}
	r.slots <- struct{}{}
	if err := r.Slot(past); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no free place: %v", err)
	}
	go func() { <-r.slots }()
	if err := r.Slot(time.Time{}); err != nil {
		t.Errorf("a place that becomes free: %v", err)
	}
}

// A CMD has each variable once: its own, or else the one that this process has.
func TestEnvironment(t *testing.T) {
	t.Setenv("IPC_TEST", "outer")
	t.Setenv("IPC_TEST_LONGER", "kept")
	var got []string
	for _, e := range Environment([]string{"IPC_TEST=own=1"}) {
		if len(e) > 8 && e[:8] == "IPC_TEST" {
			got = append(got, e)
		}
	}
	if len(got) != 2 || got[0] != "IPC_TEST_LONGER=kept" || got[1] != "IPC_TEST=own=1" {
		t.Errorf("%q", got)
	}
}
