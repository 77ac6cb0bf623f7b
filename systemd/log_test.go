package systemd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// options are those of all tests.
var options = LogOptions{Identifier: "ipcd", Prefix: "IPCD_"}

// decode takes a message of the native protocol apart.
func decode(t testing.TB, message []byte) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for len(message) > 0 {
		line, rest, ok := bytes.Cut(message, []byte("\n"))
		if !ok {
			t.Fatalf("no end of line in %q", message)
		}
		name, value, ok := bytes.Cut(line, []byte("="))
		if !ok {
			n := binary.LittleEndian.Uint64(rest)
			value, rest = rest[8:8+n], rest[8+n:]
			if rest[0] != '\n' {
				t.Fatalf("no end of line after %q", value)
			}
			rest = rest[1:]
		}
		if old, ok := fields[string(name)]; ok {
			t.Errorf("field %s is both %q and %q", name, old, value)
		}
		fields[string(name)] = string(value)
		message = rest
	}
	return fields
}

// record is what one call of a logger sends to the journal.
func record(t testing.TB, o LogOptions, log func(*slog.Logger)) map[string]string {
	t.Helper()
	var out bytes.Buffer
	log(slog.New(o.journal(&out)))
	return decode(t, out.Bytes())
}

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.GroupValue(slog.Int("x", 1), slog.Int("y", 2)) }

func TestJournalFields(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, tt := range []struct {
		name string
		log  func(*slog.Logger)
		want map[string]string
	}{
		{"message", func(l *slog.Logger) { l.Info("ready") },
			map[string]string{"MESSAGE": "ready", "PRIORITY": "6"}},
		{"attributes", func(l *slog.Logger) { l.Warn("slow", "event", "slow", "took", 3*time.Second, "n", 7, "ok", true) },
			map[string]string{"MESSAGE": "slow event=slow took=3s n=7 ok=true", "PRIORITY": "4",
				"IPCD_EVENT": "slow", "IPCD_TOOK": "3s", "IPCD_N": "7", "IPCD_OK": "true"}},
		{"error", func(l *slog.Logger) { l.Error("cannot reload", "err", errors.New("a.conf:3: no")) },
			map[string]string{"MESSAGE": `cannot reload err="a.conf:3: no"`, "PRIORITY": "3", "IPCD_ERR": "a.conf:3: no"}},
		{"time", func(l *slog.Logger) { l.Info("t", "at", at) },
			map[string]string{"MESSAGE": "t at=2030-01-02T03:04:05.000000006Z", "PRIORITY": "6", "IPCD_AT": "2030-01-02T03:04:05.000000006Z"}},
		{"lines", func(l *slog.Logger) { l.Info("a\nb=c", "v", "x\ny\n") },
			map[string]string{"MESSAGE": "a\nb=c v=\"x\\ny\\n\"", "PRIORITY": "6", "IPCD_V": "x\ny\n"}},
		{"quotes", func(l *slog.Logger) { l.Info("q", "empty", "", "eq", "a=b", "esc", "\x1b[2J", "utf8", "ü") },
			map[string]string{"MESSAGE": `q empty="" eq="a=b" esc="\x1b[2J" utf8=ü`, "PRIORITY": "6",
				"IPCD_EMPTY": "", "IPCD_EQ": "a=b", "IPCD_ESC": "\x1b[2J", "IPCD_UTF8": "ü"}},
		{"keys", func(l *slog.Logger) { l.Info("k", "lock.name", "1", "über", "2", "MESSAGE", "3") },
			map[string]string{"MESSAGE": "k lock.name=1 über=2 MESSAGE=3", "PRIORITY": "6",
				"IPCD_LOCK_NAME": "1", "IPCD__BER": "2", "IPCD_MESSAGE": "3"}},
		{"with", func(l *slog.Logger) { l.With("a", 1).With("b", 2).Info("w", "c", 3) },
			map[string]string{"MESSAGE": "w a=1 b=2 c=3", "PRIORITY": "6", "IPCD_A": "1", "IPCD_B": "2", "IPCD_C": "3"}},
		{"groups", func(l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("").WithGroup("h").Info("w", "c", 3, slog.Group("i", "d", 4), slog.Group("", "e", 5))
		},
			map[string]string{"MESSAGE": "w a=1 g.b=2 g.h.c=3 g.h.i.d=4 g.h.e=5", "PRIORITY": "6",
				"IPCD_A": "1", "IPCD_G_B": "2", "IPCD_G_H_C": "3", "IPCD_G_H_I_D": "4", "IPCD_G_H_E": "5"}},
		{"valuer", func(l *slog.Logger) { l.Info("v", "at", valuer{}) },
			map[string]string{"MESSAGE": "v at.x=1 at.y=2", "PRIORITY": "6", "IPCD_AT_X": "1", "IPCD_AT_Y": "2"}},
		{"nothing", func(l *slog.Logger) { l.Info("n", slog.Attr{}, slog.Group("empty")) },
			map[string]string{"MESSAGE": "n", "PRIORITY": "6"}},
		{"below the level", func(l *slog.Logger) { l.Debug("d") }, map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if len(tt.want) > 0 {
				tt.want["SYSLOG_IDENTIFIER"] = "ipcd"
			}
			if got := record(t, options, tt.log); !maps.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestWithIsACopy shows that two loggers made from one do not share the end of its buffer.
func TestWithIsACopy(t *testing.T) {
	var out bytes.Buffer
	base := slog.New(options.journal(&out)).With("a", 1)
	one, two := base.With("b", "one"), base.With("b", "two")
	for logger, want := range map[*slog.Logger]string{one: "one", two: "two"} {
		out.Reset()
		logger.Info("x")
		if got := decode(t, out.Bytes())["IPCD_B"]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFieldName(t *testing.T) {
	for key, want := range map[string]string{
		"event": "EVENT", "IPCD_event": "IPCD_EVENT", "_HOSTNAME": "HOSTNAME", "1st": "ST", "a-b c": "A_B_C",
		"": "", "_": "", "42": "", "ü": "", strings.Repeat("x", 70): strings.Repeat("X", 64),
	} {
		if got := fieldName(key); got != want {
			t.Errorf("fieldName(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestPriority(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "7", slog.LevelInfo: "6", slog.LevelInfo + 2: "5", slog.LevelWarn: "4", slog.LevelWarn + 1: "4",
		slog.LevelError: "3", slog.LevelError + 4: "2",
	} {
		if got := priority(level); got != want {
			t.Errorf("priority(%v) = %s, want %s", level, got, want)
		}
	}
}

func TestLevel(t *testing.T) {
	level := new(slog.LevelVar)
	o := options
	o.Level = level
	for _, h := range []slog.Handler{o.journal(io.Discard), o.text(io.Discard)} {
		level.Set(slog.LevelWarn)
		if h.Enabled(context.Background(), slog.LevelInfo) {
			t.Errorf("%T: info is enabled at level warn", h)
		}
		level.Set(slog.LevelDebug)
		if !h.Enabled(context.Background(), slog.LevelDebug) {
			t.Errorf("%T: debug is not enabled at level debug", h)
		}
	}
}

// fakeJournal is the journal's socket.
type fakeJournal struct {
	*net.UnixConn
	path string
}

func newFakeJournal(t testing.TB, path string) *fakeJournal {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &fakeJournal{c, path}
}

// next returns the fields of the next message.
func (j *fakeJournal) next(t testing.TB) map[string]string {
	t.Helper()
	buf, oob := make([]byte, 1<<18), make([]byte, 64)
	n, oobn, _, _, err := j.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	if oobn == 0 {
		return decode(t, buf[:n])
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "memfd")
	defer func() { _ = f.Close() }()
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&unix.F_SEAL_WRITE == 0 {
		t.Errorf("seals %#x, %v: the journal reads sealed files only", seals, err)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, data)
}

func TestLogToJournal(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "socket")
	j := newFakeJournal(t, path)
	h := newLogHandler(&journalSocket{path: path}, options.journal)
	logger := slog.New(h).With("event", "test")

	logger.Info("hello")
	if got := j.next(t); got["MESSAGE"] != "hello event=test" || got["IPCD_EVENT"] != "test" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("0123456789", 100_000)
	logger.Info(long)
	if got := j.next(t); got["MESSAGE"] != long+" event=test" {
		t.Errorf("the long message has %d bytes, want %d", len(got["MESSAGE"]), len(long)+len(" event=test"))
	}
	logger.Info("last")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if got := j.next(t); got["MESSAGE"] != "last event=test" {
		t.Errorf("got %q", got)
	}
	logger.Info("too late")
	if err := h.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// A gate has all writes wait until it is open.
type gate struct {
	w    io.Writer
	open chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.w.Write(p)
}

// TestJournalStalls has nobody read the log: no call waits, or this would never end, and what was lost is told later.
func TestJournalStalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	j := newFakeJournal(t, path)
	g := &gate{&journalSocket{path: path}, make(chan struct{})}
	h := newLogHandler(g, options.journal)
	logger := slog.New(h)
	const n = 20 * maxQueuedRecords
	for i := range n {
		logger.Info("x", "i", i)
	}
	close(g.open)
	got, dropped := 0, 0
	for got+dropped < n {
		fields := j.next(t)
		if fields["IPCD_EVENT"] != "log-dropped" {
			got++
			continue
		}
		var more int
		if _, err := fmt.Sscan(fields["IPCD_COUNT"], &more); err != nil {
			t.Fatal(err)
		}
		dropped += more
	}
	if got+dropped != n || got < maxQueuedRecords || dropped == 0 {
		t.Errorf("%d received + %d told as dropped, want %d", got, dropped, n)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseStalled shows that a stuck journal does not keep a daemon from exiting, or this would never end.
func TestCloseStalled(t *testing.T) {
	g := &gate{io.Discard, make(chan struct{})}
	defer close(g.open)
	h := newLogHandler(g, options.journal)
	for range 2 * maxQueuedRecords {
		slog.New(h).Info("x")
	}
	if err := h.Close(); err == nil {
		t.Error("closed although nobody reads")
	}
}

// TestJournalRestarts takes the journal away and brings a new one.
func TestJournalRestarts(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "socket")
	j := newFakeJournal(t, path)
	socket := &journalSocket{path: path}
	tried := &countingWriter{w: socket, calls: make(chan error, 8)}
	h := newLogHandler(tried, options.journal)
	logger := slog.New(h)

	logger.Info("one")
	if err := <-tried.calls; err != nil {
		t.Fatal(err)
	}
	if got := j.next(t); got["MESSAGE"] != "one" {
		t.Errorf("got %q", got)
	}

	_ = j.Close() // the address stays
	logger.Info("two")
	if err := <-tried.calls; err == nil {
		t.Error("sent to nobody")
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	j = newFakeJournal(t, path)
	logger.Info("three")
	if got := j.next(t); got["IPCD_COUNT"] != "1" || got["PRIORITY"] != "4" {
		t.Errorf("got %q, want the number of lost records", got)
	}
	if got := j.next(t); got["MESSAGE"] != "three" {
		t.Errorf("got %q", got)
	}

	// A restart between two records loses nothing.
	_ = j.Close()
	_ = os.Remove(path)
	j = newFakeJournal(t, path)
	logger.Info("four")
	if got := j.next(t); got["MESSAGE"] != "four" {
		t.Errorf("got %q", got)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	_ = socket.conn.Close()
}

// countingWriter tells of each Write.
type countingWriter struct {
	w     io.Writer
	calls chan error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.calls <- err
	return n, err
}

func TestLogText(t *testing.T) {
	defer goleak.VerifyNone(t)
	var out bytes.Buffer
	h := newLogHandler(&out, options.text)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			logger := slog.New(h).With("who", i)
			for range 100 {
				logger.Info("hello", "event", "test")
			}
		})
	}
	all.Wait()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, line := range lines {
		if !strings.Contains(line, "level=INFO msg=hello who=") || !strings.HasSuffix(line, "event=test") {
			t.Fatalf("got %q", line)
		}
	}
	if len(lines) != 400 {
		t.Errorf("got %d lines, want 400", len(lines))
	}
}

func TestNewLogHandler(t *testing.T) {
	var st unix.Stat_t
	if err := unix.Fstat(int(os.Stderr.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		stream  string
		journal bool
	}{
		{fmt.Sprintf("%d:%d", st.Dev, st.Ino), true},
		{fmt.Sprintf("%d:%d", st.Dev, st.Ino+1), false},
		{"nonsense", false},
		{"", false},
	} {
		t.Setenv("JOURNAL_STREAM", tt.stream)
		h := NewLogHandler(options)
		if _, ok := h.Handler.(*journalHandler); ok != tt.journal {
			t.Errorf("JOURNAL_STREAM=%q: a %T", tt.stream, h.Handler)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkLog(b *testing.B) {
	for name, kind := range map[string]func(io.Writer) slog.Handler{"journal": options.journal, "text": options.text} {
		b.Run(name, func(b *testing.B) {
			h := newLogHandler(io.Discard, kind)
			defer func() { _ = h.Close() }()
			logger := slog.New(h).With("event", "test")
			b.ReportAllocs()
			for b.Loop() {
				logger.Info("a client was denied", "uid", 1000, "lock", "backup")
			}
		})
	}
}
