package ipc_test

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

func openFiles(t *testing.T) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.Contains(to, "memfd:") {
			all[e.Name()] = true
		}
	}
	return all
}

// TestDaemonFiles: a file is given to each subscription that takes files, with a position of its own, and what is in it to the others; none
// is left open but those that somebody took.
func TestDaemonFiles(t *testing.T) {
	ctx := context.Background()
	before := openFiles(t)
	c, other, third, p := dialDaemon(t, ""), dialDaemon(t, ""), dialDaemon(t, ""), dialDaemon(t, "")
	subscribe := func(c *ipc.Client, options ...ipc.SubscribeOption) *ipc.Subscription {
		t.Helper()
		s, err := c.Subscribe(ctx, "files/a", options...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain := subscribe(third)
	if _, err := third.Subscribe(ctx, "files/a", ipc.Files()); err == nil || !strings.Contains(err.Error(), "with other options") {
		t.Errorf("another way by one client: %v", err)
	}
	one, two := subscribe(c, ipc.Files()), subscribe(c, ipc.Files())
	far := subscribe(other, ipc.Files())
	text := strings.Repeat("0123456789", 50_000)
	copied := int64(0)
	f, err := ipc.Seal(strings.NewReader(text), func(n int64) error { copied = n; return nil })
	if err != nil || copied != int64(len(text)) || !ipc.IsSealed(f) {
		t.Fatalf("sealed %d bytes: %v", copied, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a sealed file can be written to")
	}
	if r, err := p.Publish(ctx, "files/a", []byte("instead"), ipc.SealedFile(f), ipc.Header("name", "x")); err != nil || r.Delivered != 3 {
		t.Fatalf("published: %+v, %v", r, err)
	}
	f.Close()
	for _, s := range []*ipc.Subscription{one, two, far} {
		m, err := s.Next(ctx)
		if err != nil || m.File == nil || m.FileKind != ipc.FileSealed || m.FileSize != int64(len(text)) || string(m.Payload) != "instead" || m.Headers["name"] != "x" {
			t.Fatalf("got %+v, %v", m, err)
		}
		if got, err := io.ReadAll(m.File); err != nil || string(got) != text {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		m.File.Close()
	}
	if m, err := plain.Next(ctx); err != nil || m.File != nil || m.FileKind != "" || string(m.Payload) != text {
		t.Errorf("who takes no files got %+v, %v", m.FileKind, err)
	}

	// Any open file, from several goroutines, among other commands.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const messages = 40
	done := make(chan error)
	for range messages {
		go func() {
			_, err := p.Publish(ctx, "files/a", nil, ipc.OpenFile(r))
			done <- err
		}()
		go func() {
			_, err := p.Publish(ctx, "files/b", []byte(text[:1000]))
			done <- err
		}()
	}
	for range 2 * messages {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	r.Close()
	w.Close()
	for range messages {
		m, err := far.Next(ctx)
		if err != nil || m.FileKind != ipc.FileOpen || m.FileSize != -1 || m.File == nil {
			t.Fatalf("got %+v, %v", m, err)
		}
		m.File.Close()
	}

	// More than are kept are lost, and told; what nobody takes is closed.
	small, err := ipc.Seal(strings.NewReader("small"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := p.Publish(ctx, "files/a", nil, ipc.SealedFile(small)); err != nil {
			t.Fatal(err)
		}
	}
	small.Close()
	last := subscribe(other, ipc.Files())
	if _, err := p.Publish(ctx, "files/a", []byte("last")); err != nil {
		t.Fatal(err)
	}
	if m, err := last.Next(ctx); err != nil || string(m.Payload) != "last" { // so the others have all that came before
		t.Fatalf("who came last got %+v, %v", m, err)
	}
	m, err := far.Next(ctx)
	if err != nil || m.Lost == 0 || m.File == nil {
		t.Errorf("who had not read got %+v, %v", m, err)
	}
	m.File.Close()
	for _, s := range []*ipc.Subscription{plain, one, two, far, last} {
		s.Close()
	}
	// The daemon, which is in this process, closes what it has by and by.
	for limit, left := time.Now().Add(patience), 1; left > 0; {
		left = 0
		for fd := range openFiles(t) {
			if !before[fd] {
				left++
			}
		}
		if time.Now().After(limit) {
			t.Fatalf("%d files are still open", left)
		}
		if _, err := p.Do(ctx, "PING"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Publish(ctx, "files/a", nil, ipc.SealedFile(os.Stderr)); err == nil || !strings.Contains(err.Error(), "FD sealed wants a memfd") {
		t.Errorf("what is not sealed: %v", err)
	}
}
