// Package testenv is the only place where a test may be skipped.
//
// A skipped test is a test that nobody runs, so a skip needs a reason that is checked, not believed:
//
//   - A program that is not installed ([Need]). test/setup installs all of them where it can, and then sets
//     IPCD_TEST_STRICT=1: from there on a missing program fails the test.
//   - A limit of the machine that no package can lift ([Root], [Kernel], [Descriptors], [Allowed], [Systemd]): the test is
//     skipped only where a probe has just shown that limit.
//
// internal/archtest fails for a test that calls t.Skip itself, and for testing.Short.
package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Strict is the environment variable that turns a missing program into a failure when it is "1".
const Strict = "IPCD_TEST_STRICT"

// Need skips the test unless every program is in PATH; in a strict run it fails the test. What is no program, as a library, is
// named by a path where its package has a file.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		_, err := exec.LookPath(p)
		if strings.HasPrefix(p, "/") {
			_, err = os.Stat(p)
		}
		if err != nil {
			missing = append(missing, p)
		}
	}
	if missing == nil {
		return
	}
	if os.Getenv(Strict) == "1" {
		t.Fatalf("not installed: %s; test/setup installs what tests need", strings.Join(missing, ", "))
	}
	t.Skipf("not installed: %s", strings.Join(missing, ", "))
}

// Modules is the folder of what tests need of npm's, which test/setup has had installed. If there is none, the test is skipped, or fails
// in a strict run.
func Modules(t testing.TB) string {
	t.Helper()
	dir, ok := os.LookupEnv("IPCD_TEST_MODULES")
	if !ok {
		dir = "/no IPCD_TEST_MODULES: test/setup sets it"
	}
	dir = filepath.Join(dir, "node_modules")
	Need(t, "node", dir)
	return dir
}

// Has reports whether a program is in PATH, for a test that does without it where it is not; in a strict run it is.
func Has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil || os.Getenv(Strict) == "1"
}

// Root skips the test unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// Kernel skips the test on a Linux older than major.minor. The reason says which feature is needed.
func Kernel(t testing.TB, major, minor int, reason string) {
	t.Helper()
	if !HasKernel(t, major, minor) {
		haveMajor, haveMinor, _ := kernelVersion()
		t.Skipf("needs Linux %d.%d (%s), this is %d.%d", major, minor, reason, haveMajor, haveMinor)
	}
}

// HasKernel reports whether this is Linux major.minor or newer, for a test that expects more there.
func HasKernel(t testing.TB, major, minor int) bool {
	t.Helper()
	haveMajor, haveMinor, err := kernelVersion()
	if err != nil {
		t.Fatal(err)
	}
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}

// Allowed skips the test if err says that the kernel or a sandbox around it refuses something, and fails it for any other
// error. What is the thing that was tried: "choose a process's number".
func Allowed(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, refusal := range []error{unix.EPERM, unix.EACCES, unix.EROFS, unix.ENOSYS, unix.ENOPROTOOPT, unix.EOPNOTSUPP} {
		if errors.Is(err, refusal) {
			t.Skipf("this machine does not allow to %s: %v", what, err)
		}
	}
	t.Fatalf("cannot %s: %v", what, err)
}

// Descriptors raises the limit of open files to at least n for the rest of the process, and skips the test where that is
// not allowed.
func Descriptors(t testing.TB, n uint64) {
	t.Helper()
	if err := raiseDescriptors(n); err != nil {
		t.Skipf("needs %d file descriptors: %v", n, err)
	}
}

func raiseDescriptors(n uint64) error {
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		return err
	}
	if have.Cur >= n {
		return nil
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(n, have.Max)}); err != nil {
		return err
	}
	// Some sandboxes accept any number and grant less.
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		return err
	}
	if have.Cur < n {
		return fmt.Errorf("the limit stays at %d", have.Cur)
	}
	return nil
}

// Systemd skips the test unless this machine can boot a systemd of its own in a container: that takes root, the programs
// of the harness, and a kernel (or an outer container) that allows namespaces and overlay mounts.
func Systemd(t testing.TB) {
	t.Helper()
	Root(t)
	Need(t, "systemd-nspawn", "systemctl", "systemd-run", "dbus-daemon", "unshare", "nsenter", "setpriv")
	if err := canMount(); err != nil {
		t.Skipf("cannot make a container here: %v", err)
	}
}

// canMount tries, in namespaces of its own, the mounts that the container needs.
var canMount = sync.OnceValue(func() error {
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc",
		"sh", "-c", `mount -t tmpfs tmpfs /run && mkdir /run/up /run/work /run/root &&
			mount -t overlay -o lowerdir=/,upperdir=/run/up,workdir=/run/work overlay /run/root`).CombinedOutput()
	if err != nil && len(out) > 0 {
		return errors.New(strings.TrimSpace(string(out)))
	}
	return err
})
