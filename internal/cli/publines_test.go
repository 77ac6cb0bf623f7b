package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A fakeDaemon does what a test says, one connection after the other.
type fakeDaemon struct {
	t      *testing.T
	listen net.Listener
	conn   net.Conn
	parser wire.RequestParser
	in     []byte
}

func newFakeDaemon(t *testing.T) (*fakeDaemon, string) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &fakeDaemon{t: t, listen: l}, path
}

// accept begins a connection, as a daemon that was just started.
func (d *fakeDaemon) accept() {
	conn, err := d.listen.Accept()
	if err != nil {
		d.t.Error(err)
		return
	}
	d.t.Cleanup(func() { conn.Close() }) // and not before: nobody else holds on to it
	d.conn, d.in, d.parser = conn, nil, wire.RequestParser{Limits: wire.DefaultLimits}
	d.command()
	d.say("%1\r\n$11\r\ninput_limit\r\n:1000\r\n")
}

// command reads a command; nil at the end of the connection.
func (d *fakeDaemon) command() []string {
	b := make([]byte, 4096)
	for {
		words, n, err := d.parser.Next(d.in, nil)
		if err != nil {
			d.t.Error(err)
			return nil
		}
		if n > 0 {
			d.in = d.in[n:]
			var command []string
			for _, w := range words {
				command = append(command, string(w))
			}
			return command
		}
		m, err := d.conn.Read(b)
		if err != nil {
			return nil
		}
		d.in = append(d.in, b[:m]...)
	}
}

func (d *fakeDaemon) say(text string) {
	if _, err := d.conn.Write([]byte(text)); err != nil {
		d.t.Error(err)
	}
}

const receipt = "%3\r\n$3\r\nseq\r\n:1\r\n$9\r\ndelivered\r\n:1\r\n$7\r\ndropped\r\n:0\r\n"

// lines are so many lines, of which each has its number.
func lines(n int) (text string, each []string) {
	for i := range n {
		each = append(each, fmt.Sprint(i+1))
	}
	return strings.Join(each, "\n") + "\n", each
}

// feedOf is a feed that reads text from a pipe and talks to the daemon at path.
func feedOf(t *testing.T, path, text string, options ...string) (*feed, *bytes.Buffer) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	go func() {
		_, _ = w.WriteString(text) // whoever reads no more does not miss it
		w.Close()
	}()
	var out bytes.Buffer
	c := &verb.Call{Table: verbs(), Out: term.Onto(&out, false)}
	if err := c.Parse(append([]string{"--socket=" + path, "--quiet", "--json", "pub", "a/b"}, options...)); err != nil {
		t.Fatal(err)
	}
	f := newFeed(c, &pubVerb{}, "a/b", int(r.Fd()))
	f.signals = -1
	conn, err := c.Dial()
	if err == nil {
		f.since = time.Now()
		err = f.use(conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.conn.Close() })
	return f, &out
}

// A daemon that does not answer is sent no more than the window holds, whatever there is to be sent, and all in the end.
func TestWindowIsBound(t *testing.T) {
	text, want := lines(10 * mostUnanswered)
	d, path := newFakeDaemon(t)
	var got []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.accept()
		for len(got) < len(want) {
			for range mostUnanswered {
				words := d.command()
				if len(words) != 3 {
					t.Errorf("%q", words)
					return
				}
				got = append(got, words[2])
			}
			if len(d.in) > 0 {
				t.Errorf("%q was sent though %d are not answered", d.in, mostUnanswered)
			}
			d.say(strings.Repeat(receipt, mostUnanswered))
		}
	}()
	f, _ := feedOf(t, path, text)
	if err := f.run(); err != nil {
		t.Error(err)
	}
	<-done
	if !slices.Equal(got, want) {
		t.Errorf("%d lines came, or others than the %d that were sent", len(got), len(want))
	}
	if n := cap(f.in.buf) + cap(f.window.buf); n > 4*(readSize+mostUnansweredBytes) {
		t.Errorf("%d bytes of memory", n)
	}
	if n := f.published.Load(); n != int64(len(want)) {
		t.Errorf("%d were published", n)
	}
}

// A daemon that ends when all is answered is not missed.
func TestNextDaemonIsNotWaitedForAtTheEnd(t *testing.T) {
	text, want := lines(3)
	d, path := newFakeDaemon(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.accept()
		for range want {
			d.command()
		}
		d.say(strings.Repeat(receipt, len(want)))
		d.conn.Close()
	}()
	f, _ := feedOf(t, path, text)
	for f.fill(); !f.closed; f.fill() {
		_ = f.in.read() // what it takes, and then its end
	}
	f.send()
	<-done
	if err := f.run(); err != nil {
		t.Error(err)
	}
	if n := f.published.Load(); n != int64(len(want)) {
		t.Errorf("%d were published", n)
	}
}

// What a daemon had not answered when it ended is sent to the next one, whole and in order, though it was sent in part.
func TestNextDaemonIsSentTheRest(t *testing.T) {
	text, want := lines(100)
	d, path := newFakeDaemon(t)
	var first, second []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.accept()
		for range 60 {
			first = append(first, d.command()[2])
		}
		d.say(strings.Repeat(receipt, 50))
		d.conn.Close()
		d.accept()
		d.command() // IPCD.STATUS
		d.say("%1\r\n$6\r\nuptime\r\n:0\r\n")
		for range 50 {
			second = append(second, d.command()[2])
			d.say(receipt)
		}
	}()
	f, out := feedOf(t, path, text)
	if err := f.run(); err != nil {
		t.Error(err)
	}
	<-done
	if !slices.Equal(first[:50], want[:50]) || !slices.Equal(second, want[50:]) {
		t.Errorf("the first daemon had %q, and the second %q", first, second)
	}
	f.sum()
	_ = f.call.Out.Flush()
	objects := strings.Split(out.String(), "\n")
	if last := objects[len(objects)-2]; last != `{"published":100,"delivered":100,"dropped":0}` {
		t.Error(last)
	}
	if repeated := objects[50]; repeated != `{"repeated":50}` {
		t.Error(repeated)
	}
}

// A refusal names the record, whatever is answered after it, and those behind it that were published.
func TestRefusalNamesTheRecord(t *testing.T) {
	for name, c := range map[string]struct {
		answers string
		want    string
		status  int
	}{
		"in between": {receipt + "-QUOTA no more\r\n" + receipt + "-IO disk\r\n" + receipt,
			"cannot publish line 2 on a/b: no more; of those after it, 2 had been sent, and published", exit.Quota},
		"and the daemon ends": {receipt + "-QUOTA no more\r\n" + receipt,
			"cannot publish line 2 on a/b: no more; of those after it, 1 had been sent, and published; 2 may have been published", exit.Quota},
		"the last": {strings.Repeat(receipt, 4) + "-QUOTA no more\r\n", "cannot publish line 5 on a/b: no more", exit.Quota},
	} {
		t.Run(name, func(t *testing.T) {
			text, _ := lines(5)
			d, path := newFakeDaemon(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				d.accept()
				for range 5 {
					d.command()
				}
				d.say(c.answers)
				d.conn.Close()
			}()
			f, _ := feedOf(t, path, text)
			err := f.run()
			<-done
			var failed *exit.Failure
			if !errors.As(err, &failed) || failed.Text != c.want || failed.Exit != c.status {
				t.Errorf("%+v, want %s", err, c.want)
			}
		})
	}
}

// A long line that the daemon would not take is found after the answers to those before it, of which none was refused.
func TestTooLongRecord(t *testing.T) {
	d, path := newFakeDaemon(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.accept()
		for range 2 {
			if words := d.command(); !slices.Equal(words, []string{"BUS.PUB", "a/b", "short"}) {
				t.Errorf("%q", words)
			}
			d.say(receipt)
		}
		if words := d.command(); words != nil {
			t.Errorf("%q", words)
		}
	}()
	f, _ := feedOf(t, path, "short\nshort\n"+strings.Repeat("x", 1001)+"\nshort\n")
	err := f.run()
	f.conn.Close()
	<-done
	want := "cannot publish line 3 on a/b: that takes more than the limit of 1000 bytes"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Also what comes before a line that is too long is sent to the next daemon. If there is none, that is the failure.
func TestTooLongRecordAndNoDaemon(t *testing.T) {
	d, path := newFakeDaemon(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.accept()
		d.command()
		d.say(receipt)
		d.command()
		d.listen.Close()
		d.conn.Close()
	}()
	f, _ := feedOf(t, path, "short\nshort\n"+strings.Repeat("x", 1001)+"\n", "--wait-daemon=0")
	err := f.run()
	<-done
	if err == nil || !strings.HasSuffix(err.Error(), "; it has ended; published 1 line, and perhaps 1 more") {
		t.Errorf("%v", err)
	}
}

// A terminal is told how many there are, and how many in a second, once a second.
func TestMeter(t *testing.T) {
	var screen strings.Builder
	f := &feed{noun: "line"}
	if f.meter.pause() >= 0 {
		t.Error("a meter that is off wakes it")
	}
	f.meter.line.tell, f.meter.on = term.Onto(&screen, true), true
	f.meter.next = time.Now().Add(time.Hour)
	f.showMeter()
	if screen.Len() > 0 || f.meter.pause() < 1000 {
		t.Errorf("before its time: %q", screen.String())
	}
	f.published.Store(1000)
	f.meter.next = time.Now().Add(-tick)
	f.showMeter()
	shown, found := strings.CutPrefix(screen.String(), "\ripcctl: published 1000 lines, ")
	if n := 0; !found {
		t.Errorf("%q", screen.String())
	} else if _, err := fmt.Sscanf(shown, "%d a second\x1b[K", &n); err != nil || n > 500 {
		t.Errorf("%q: %v", screen.String(), err)
	}
	if left := time.Until(f.meter.next); left <= 0 || left > tick {
		t.Errorf("next in %v", left)
	}
}

// However input comes in, and whatever its records are, they are the same, and the last one needs no end.
func TestRecords(t *testing.T) {
	long := strings.Repeat("x", 3*readSize)
	for _, want := range [][]string{nil, {""}, {"a"}, {"", "", "b\r"}, {"a\x00", long, "", long + "y"}} {
		for _, end := range []string{"", "\n"} {
			text := strings.Join(want, "\n") + end
			if len(want) == 0 || end == "" && want[len(want)-1] == "" {
				text, want = "", nil
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for len(text) > 0 {
					n := min(len(text), 1+len(text)/3)
					_, _ = w.WriteString(text[:n]) // what is missing, the comparison finds
					text = text[n:]
				}
				w.Close()
			}()
			in := records{fd: int(r.Fd()), end: '\n'}
			var got []string
			for {
				if record, ok := in.next(); ok {
					got = append(got, string(record))
				} else if in.over {
					break
				} else if err := in.read(); err != nil && !in.over {
					t.Fatal(err)
				}
			}
			r.Close()
			if !slices.Equal(got, want) {
				t.Errorf("%d records, want %d", len(got), len(want))
			}
		}
	}
}
