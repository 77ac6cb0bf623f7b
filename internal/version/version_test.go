package version

import "testing"

func TestStampWins(t *testing.T) {
	defer func(old string) { stamp = old }(stamp)
	stamp = "v1.2.3-4-gabcdef0"
	if got := String(); got != stamp {
		t.Errorf("String() = %q, want the stamp %q", got, stamp)
	}
	stamp = ""
	if got := String(); got == "" {
		t.Error("String() is empty without a stamp")
	}
}
