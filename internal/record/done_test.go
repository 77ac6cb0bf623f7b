package record

import (
	"strings"
	"testing"
)

func TestCheckDone(t *testing.T) {
	good := Done{Key: "k", Per: "day", Period: "2026-11-25"}
	if err := CheckDone([]Done{good, {Key: "a/b", Per: "ever"}}); err != nil {
		t.Error(err)
	}
	for _, bad := range []Done{{Key: "k", Per: "week"}, {Key: "", Per: "day"}, {Key: "a/\x1b", Per: "day"}, {Key: strings.Repeat("k", 201), Per: "ever"}} {
		if err := CheckDone([]Done{good, bad}); err == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}
