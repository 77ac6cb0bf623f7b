package openfile

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func memfd(t *testing.T, flags, seals int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|flags)
	if err == nil {
		_, err = unix.Write(fd, []byte("0123456789"))
	}
	if err == nil && seals != 0 {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// TestSealed: each seal counts, and no other stands for one of them.
func TestSealed(t *testing.T) {
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	about := Look(memfd(t, unix.MFD_ALLOW_SEALING, all))
	if err := about.Sealed(); err != nil || about.Size != 10 || !about.Memory {
		t.Errorf("%+v: %v", about, err)
	}
	for _, s := range allSeals {
		about := Look(memfd(t, unix.MFD_ALLOW_SEALING, all&^s.seal|unix.F_SEAL_FUTURE_WRITE))
		if err := about.Sealed(); err == nil || !strings.HasPrefix(err.Error(), "it lacks "+s.name+",") {
			t.Errorf("without %s: %v", s.name, err)
		}
	}
	about = Look(memfd(t, 0, 0)) // F_SEAL_SEAL, and no other
	if err := about.Sealed(); err == nil || strings.Contains(err.Error(), "F_SEAL_SEAL") {
		t.Errorf("without seals: %v", err)
	}
	about = Look(-1)
	if err := about.Sealed(); err == nil || about.Size != -1 || about.Memory {
		t.Errorf("no file: %+v, %v", about, err)
	}
}

// TestContents reads whatever the position is, and nothing that is not in memory.
func TestContents(t *testing.T) {
	fd := memfd(t, 0, 0)
	if got := string(Contents(fd, 10)); got != "0123456789" {
		t.Errorf("read %q", got)
	}
	if got := Contents(fd, 0); got == nil || len(got) > 0 {
		t.Errorf("nothing to read, and got %v", got)
	}
	const hole = 1 << 20
	if err := unix.Ftruncate(fd, hole); err != nil {
		t.Fatal(err)
	}
	if got := Contents(fd, hole); got != nil {
		t.Errorf("read %d bytes that are nowhere", len(got))
	}
}
