package testenv

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recorder is a test whose end is looked at. Only the methods that testenv calls exist.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Skip(args ...any) { r.skipped = fmt.Sprint(args...); runtime.Goexit() }

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.failed = fmt.Sprint(args...); runtime.Goexit() }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// run calls f as the test runner does, in a goroutine of its own that Skip and Fatal end.
func run(f func(testing.TB)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("IPCD_TEST_MODULES", dir)
	t.Setenv(Strict, "1")
	if r := run(func(t testing.TB) { Modules(t) }); r.failed == "" {
		t.Error("nothing is missing")
	}
	t.Setenv(Strict, "")
	if r := run(func(t testing.TB) { Modules(t) }); r.skipped == "" {
		t.Error("it is not skipped")
	}
}

func TestNeed(t *testing.T) {
	there := func(t testing.TB) { Need(t, "sh", "cat") }
	missing := func(t testing.TB) { Need(t, "sh", "no-such-program") }
	for _, strict := range []string{"", "1"} {
		t.Setenv(Strict, strict)
		if r := run(there); r.skipped != "" || r.failed != "" {
			t.Errorf("strict=%q, installed: skipped %q, failed %q", strict, r.skipped, r.failed)
		}
		r := run(missing)
		said, unsaid := r.skipped, r.failed
		if strict == "1" {
			said, unsaid = unsaid, said
		}
		if unsaid != "" || !strings.Contains(said, "no-such-program") || strings.Contains(said, "sh,") {
			t.Errorf("strict=%q, missing: skipped %q, failed %q", strict, r.skipped, r.failed)
		}
	}
}

func TestKernel(t *testing.T) {
	if r := run(func(t testing.TB) { Kernel(t, 3, 2, "anything") }); r.skipped != "" || r.failed != "" {
		t.Errorf("Linux 3.2: skipped %q, failed %q", r.skipped, r.failed)
	}
	r := run(func(t testing.TB) { Kernel(t, 999, 0, "time travel") })
	if !strings.Contains(r.skipped, "needs Linux 999.0 (time travel)") {
		t.Errorf("Linux 999.0: skipped %q, failed %q", r.skipped, r.failed)
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		err             error
		skipped, failed string
	}{
		{nil, "", ""},
		{&os.PathError{Op: "open", Path: "/x", Err: unix.EROFS}, "this machine does not allow to fly: open /x", ""},
		{errors.New("no wings"), "", "cannot fly: no wings"},
	} {
		r := run(func(t testing.TB) { Allowed(t, "fly", c.err) })
		if !strings.HasPrefix(r.skipped, c.skipped) || (r.skipped == "") != (c.skipped == "") || r.failed != c.failed {
			t.Errorf("%v: skipped %q, failed %q", c.err, r.skipped, r.failed)
		}
	}
}

func TestParseRelease(t *testing.T) {
	for release, want := range map[string][2]int{"6.18.44-fc": {6, 18}, "5.10.0-30-amd64": {5, 10}, "7.0-rc1": {7, 0}} {
		major, minor, err := parseRelease(release)
		if err != nil || [2]int{major, minor} != want {
			t.Errorf("parseRelease(%q) = %d, %d, %v; want %v", release, major, minor, err, want)
		}
	}
	if _, _, err := parseRelease("unknown"); err == nil {
		t.Error("parseRelease accepts a release without a number")
	}
}

func TestDescriptors(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if r := run(func(t testing.TB) { Descriptors(t, before.Max) }); r.skipped != "" {
		t.Errorf("the hard limit itself is refused: %s", r.skipped)
	}
	if r := run(func(t testing.TB) { Descriptors(t, 1<<40) }); r.skipped == "" {
		t.Error("2^40 descriptors are granted")
	}
}
