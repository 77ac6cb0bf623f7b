package ipc_test

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"golang.org/x/sys/unix"
)

// unsealed opens the files in memory of this process that can be changed.
func unsealed(t *testing.T) (all []*os.File) {
	t.Helper()
	for fd := range openFiles(t) {
		f, err := os.OpenFile("/proc/self/fd/"+fd, os.O_RDWR, 0)
		if err != nil { // it is the daemon's, and closed by now
			continue
		}
		if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals != 0 {
			f.Close()
			continue
		}
		all = append(all, f)
	}
	return all
}

// A holder is something to be read. At its end it has the file in memory in use that it was copied to.
type holder struct {
	text io.Reader
	t    *testing.T
	use  func(fd int)
}

func newHolder(t *testing.T, use func(fd int)) *holder {
	return &holder{text: strings.NewReader("held"), t: t, use: use}
}

func (h *holder) Read(b []byte) (int, error) {
	n, err := h.text.Read(b)
	if err != nil {
		for _, f := range unsealed(h.t) {
			h.use(int(f.Fd()))
			f.Close()
		}
	}
	return n, err
}

// TestSealWaits: a page that is in use does not let a file be sealed, and does so as soon as it is not.
func TestSealWaits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	source := newHolder(t, func(fd int) {
		if _, err := unix.Splice(fd, new(int64), int(w.Fd()), nil, 4, 0); err != nil { // the pipe has the page itself
			t.Error(err)
		}
	})
	var told []int64
	f, err := ipc.Seal(source, func(n int64) error {
		if told = append(told, n); len(told) == 2 {
			_, err := r.Read(make([]byte, 4))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, err := io.ReadAll(f); string(text) != "held" || err != nil || !ipc.IsSealed(f) {
		t.Errorf("it is %q, %v, sealed %v", text, err, ipc.IsSealed(f))
	}
	if len(told) < 2 || slices.Max(told) != 4 || slices.Min(told) != 4 {
		t.Errorf("told of %d bytes", told)
	}
}

// TestSealInUse: a file that can be written to by who has mapped it is not sealed, what is wrong is said, and nothing is left; and who is
// told that it takes long may end it.
func TestSealInUse(t *testing.T) {
	mapped := func() *holder {
		return newHolder(t, func(fd int) {
			m, err := unix.Mmap(fd, 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Munmap(m) })
		})
	}
	const want = "cannot seal a file in memory: the kernel says that somebody may still write to it (EBUSY)"
	if _, err := ipc.Seal(mapped(), nil); err == nil || err.Error() != want {
		t.Errorf("it fails with %v", err)
	}
	enough, calls := errors.New("enough"), 0
	if _, err := ipc.Seal(mapped(), func(int64) error {
		if calls++; calls == 3 {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) || calls != 3 {
		t.Errorf("after %d calls it fails with %v", calls, err)
	}
	for _, f := range unsealed(t) {
		t.Error("a file that was not sealed is left open")
		f.Close()
	}
}
