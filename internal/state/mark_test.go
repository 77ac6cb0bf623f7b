package state

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/internal/testenv"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("IPCD_TEST_RAISE"); dir != "" {
		raiseForEver(dir)
	}
	if dir := os.Getenv("IPCD_TEST_NOTE"); dir != "" {
		noteForEver(dir)
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string) *Mark {
	t.Helper()
	m, err := OpenMark(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// reopen opens dir as the next daemon would, and returns what it finds.
func reopen(t *testing.T, dir string) (last uint64, corrupt error) {
	t.Helper()
	m := open(t, dir)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return m.Last(), m.Corrupt()
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestMarkRisesAndStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib", "ipcd")
	if last, corrupt := reopen(t, dir); last != 0 || corrupt != nil {
		t.Errorf("a new mark is %d, corrupt: %v", last, corrupt)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, error %v", info.Mode(), err)
	}
	for _, step := range []struct{ to, want uint64 }{
		{7, 7}, {7, 7}, {3, 7}, {0, 7}, {1795401234567890, 1795401234567890}, {MaxMark, MaxMark},
	} {
		m := open(t, dir)
		if err := m.Raise(step.to); err != nil {
			t.Fatal(err)
		}
		if m.Last() != step.want {
			t.Errorf("raised to %d it is %d, want %d", step.to, m.Last(), step.want)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if last, corrupt := reopen(t, dir); last != step.want || corrupt != nil {
			t.Errorf("found %d, corrupt: %v; want %d", last, corrupt, step.want)
		}
	}
}

func TestRaiseRefuses(t *testing.T) {
	m := open(t, t.TempDir())
	if err := m.Raise(MaxMark + 1); err == nil || m.Last() != 0 {
		t.Errorf("error %v, mark %d", err, m.Last())
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Raise(1); err == nil || m.Last() != 0 {
		t.Errorf("after Close: error %v, mark %d", err, m.Last())
	}
}

func TestRaiseConcurrently(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	var wg sync.WaitGroup
	for n := range uint64(32) {
		wg.Go(func() {
			if err := m.Raise(n); err != nil || m.Last() < n {
				t.Errorf("raised to %d: error %v, mark %d", n, err, m.Last())
			}
		})
	}
	wg.Wait()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if last, _ := reopen(t, dir); last != 31 {
		t.Errorf("found %d, want 31", last)
	}
}

func TestFormatStays(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Raise(1795401234567890); err != nil {
		t.Fatal(err)
	}
	const want = "ipcd token-mark 1 1795401234567890 crc32c=71e7638a\n"
	if got := read(t, filepath.Join(dir, markName)); got != want {
		t.Errorf("the file is %q, want %q: another format needs another version", got, want)
	}
}

// Every part of the file, and the file with any bit flipped, is either noticed or says the same.
func TestTornAndFlipped(t *testing.T) {
	good := format(1795401234567890)
	for n := range len(good) {
		if mark, err := parse(good[:n]); !errors.Is(err, errCorrupt) {
			t.Errorf("%q is taken for %d, error %v", good[:n], mark, err)
		}
		for bit := range 8 {
			bad := []byte(good)
			bad[n] ^= 1 << bit
			if mark, err := parse(string(bad)); !errors.Is(err, errCorrupt) {
				t.Errorf("%q is taken for %d, error %v", bad, mark, err)
			}
		}
	}
}

func TestCorruptIsSetAside(t *testing.T) {
	for _, bad := range []string{
		"",
		"\x00\x00\x00\x00",
		"1795401234567890\n",
		format(5)[:20],
		format(5) + format(6),
		strings.Repeat("9", 1<<16),
		format(MaxMark + 1),
		withSum("ipcd token-mark 0 5"),
		withSum("ipcd token-mark 1"),
		withSum("ipcd token-mark 1 -5"),
		withSum("ipcd token-mark 1 05"),
		withSum("ipcd token-mark 1 5 "),
		withSum("something else 1 5"),
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, markName+".corrupt-1"), "earlier")
		write(t, filepath.Join(dir, markName), bad)
		m := open(t, dir)
		if m.Last() != 0 || m.Corrupt() == nil {
			t.Fatalf("%q: mark %d, corrupt: %v", bad, m.Last(), m.Corrupt())
		}
		if got := m.Corrupt().Error(); !strings.HasSuffix(got, "; moved to token-mark.corrupt-2") {
			t.Errorf("%q: %s", bad, got)
		}
		if got := read(t, filepath.Join(dir, markName+".corrupt-2")); got != bad {
			t.Errorf("set aside %q, want %q", got, bad)
		}
		if got := read(t, filepath.Join(dir, markName+".corrupt-1")); got != "earlier" {
			t.Errorf("the earlier one is now %q", got)
		}
		if err := m.Raise(9); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if last, corrupt := reopen(t, dir); last != 9 || corrupt != nil {
			t.Errorf("afterwards found %d, corrupt: %v", last, corrupt)
		}
	}
}

func TestNotAFileIsSetAside(t *testing.T) {
	for name, plant := range map[string]func(string) error{
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"fifo":      func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"link":      func(p string) error { return os.Symlink("/dev/zero", p) },
	} {
		dir := t.TempDir()
		if err := plant(filepath.Join(dir, markName)); err != nil {
			t.Fatal(err)
		}
		if last, corrupt := reopen(t, dir); last != 0 || corrupt == nil {
			t.Errorf("%s: mark %d, corrupt: %v", name, last, corrupt)
		}
		if last, corrupt := reopen(t, dir); last != 0 || corrupt != nil {
			t.Errorf("%s, again: mark %d, corrupt: %v", name, last, corrupt)
		}
	}
}

func TestNewerFormatIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, markName)
	newer := withSum("ipcd token-mark 2 unit=3 5")
	write(t, path, newer)
	_, err := OpenMark(dir)
	want := "cannot use the token mark in " + dir + ": it has format 2, of a newer ipcd; this one knows formats up to 1"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := read(t, path); got != newer {
		t.Errorf("the file is now %q", got)
	}
	write(t, path, format(5)) // The refusal has not kept the lock.
	if last, _ := reopen(t, dir); last != 5 {
		t.Errorf("found %d, want 5", last)
	}
}

// A crash between any two steps of a Raise leaves a temporary file of some length beside the old mark.
func TestCrashBeforeRename(t *testing.T) {
	next := format(8)
	for n := range len(next) + 1 {
		dir := t.TempDir()
		write(t, filepath.Join(dir, markName), format(7))
		write(t, filepath.Join(dir, markName+".tmp"), next[:n])
		m := open(t, dir)
		if m.Last() != 7 || m.Corrupt() != nil {
			t.Fatalf("%d bytes: mark %d, corrupt: %v", n, m.Last(), m.Corrupt())
		}
		if err := m.Raise(9); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, markName+".tmp")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d bytes: the temporary file is still there: %v", n, err)
		}
	}
}

func raiseForEver(dir string) {
	m, err := OpenMark(dir)
	for n := m.Last() + 1; err == nil; n++ {
		if err = m.Raise(n); err == nil {
			fmt.Println(n)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// What a killed daemon knew to be on the disk is found by the next.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "IPCD_TEST_RAISE="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said uint64
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if said, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Error(lines.Text())
			}
			if n == 20+round {
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = cmd.Wait() // It was killed.
		if last, corrupt := reopen(t, dir); last < said || last > said+1 || corrupt != nil {
			t.Errorf("found %d, corrupt: %v; it said %d", last, corrupt, said)
		}
	}
}

func TestTwoDaemons(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	refused := func(want string) {
		t.Helper()
		want = "cannot lock the state directory " + dir + ": " + want + " is using it"
		if _, err := OpenMark(dir); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	refused("pid " + strconv.Itoa(os.Getpid()))
	write(t, filepath.Join(dir, "lock"), "")
	refused("another process")
	if err := first.Raise(4); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if last, _ := reopen(t, dir); last != 4 {
		t.Errorf("found %d, want 4", last)
	}
}

// mount mounts a tmpfs for the test, where that is allowed.
func mount(t *testing.T, options string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	mountAt(t, dir, options)
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func mountAt(t *testing.T, dir, options string) {
	t.Helper()
	testenv.Allowed(t, "mount a tmpfs", syscall.Mount("tmpfs", dir, "tmpfs", 0, options))
}

func TestFullDisk(t *testing.T) {
	dir := mount(t, "size=64k")
	m := open(t, dir)
	if err := m.Raise(5); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	if err := m.Raise(6); !errors.Is(err, syscall.ENOSPC) || m.Last() != 5 {
		t.Errorf("on a full disk: error %v, mark %d", err, m.Last())
	}
	if _, err := os.Lstat(filepath.Join(dir, markName+".tmp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = open(t, dir) // A full disk does not keep the daemon from starting.
	if m.Last() != 5 || m.Corrupt() != nil {
		t.Errorf("on a full disk found %d, corrupt: %v", m.Last(), m.Corrupt())
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := m.Raise(6); err != nil || m.Last() != 6 {
		t.Errorf("with room again: error %v, mark %d", err, m.Last())
	}
}

// TestReadOnly: what can be read counts, one daemon excludes another, and the mark is raised when it can be.
func TestReadOnly(t *testing.T) {
	dir := mount(t, "size=64k")
	remount := func(flag uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flag, ""); err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(dir, "new", "er")
	if err := open(t, filepath.Join(dir, "old")).Raise(5); err != nil {
		t.Fatal(err)
	}
	remount(syscall.MS_RDONLY)
	for dir, last := range map[string]uint64{filepath.Join(dir, "old2"): 0, missing: 0} {
		m := open(t, dir)
		if err := m.Raise(7); !errors.Is(err, syscall.EROFS) || m.Last() != last || m.Corrupt() != nil {
			t.Errorf("%s: error %v, mark %d", dir, err, m.Last())
		}
	}
	first := open(t, missing)
	remount(0)
	if err := first.Raise(7); err != nil || first.Last() != 7 {
		t.Errorf("error %v, mark %d", err, first.Last())
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	remount(syscall.MS_RDONLY)
	m := open(t, missing)
	if err := m.Raise(9); !errors.Is(err, syscall.EROFS) || m.Last() != 7 {
		t.Errorf("error %v, mark %d", err, m.Last())
	}
	var inUse *InUseError
	if _, err := OpenMark(missing); !errors.As(err, &inUse) {
		t.Errorf("a second daemon: %v", err)
	}
	remount(0)
	if err := m.Raise(9); err != nil || m.Last() != 9 {
		t.Errorf("error %v, mark %d", err, m.Last())
	}
}

// TestNoDirectory: a mark for which there is no directory is raised when there is one.
func TestNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	m := open(t, filepath.Join(file, "state"))
	if err := m.Raise(5); !errors.Is(err, syscall.ENOTDIR) || m.Last() != 0 {
		t.Errorf("error %v, mark %d", err, m.Last())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := m.Raise(5); err != nil || m.Last() != 5 {
		t.Errorf("error %v, mark %d", err, m.Last())
	}
}

// TestMarkUnread: a mark that could not be read at first is not lowered.
func TestMarkUnread(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, markName)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	undo := blockRename(t, path)
	m := open(t, dir)
	if err := m.Raise(5); !errors.Is(err, syscall.EBUSY) || m.Last() != 0 {
		t.Errorf("error %v, mark %d", err, m.Last())
	}
	undo()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, format(9))
	if err := m.Raise(5); err != nil || m.Last() != 9 {
		t.Errorf("error %v, mark %d", err, m.Last())
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{format(0), format(MaxMark), withSum("ipcd token-mark 2 5"), "", "crc32c=", magic} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, text := range []string{text, withSum(text)} { // or next to nothing gets past the checksum
			if mark, err := parse(text); err == nil && format(mark) != text {
				t.Errorf("%q is taken for %d", text, mark)
			}
		}
	})
}
