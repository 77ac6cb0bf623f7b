package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/locks"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// patience bounds every wait of a test. It is there to fail a test that hangs, not to measure.
const patience = 20 * time.Second

// testLimits are roomy. A test that is about a limit sets it.
var testLimits = Limits{
	Connections: 1000, ConnectionsPerUser: 1000, Input: 1 << 20, Output: 8 << 20, Arguments: 1024, BuffersPerUser: 256 << 20,
	SubscriptionsPerUser: 1000, PatternsPerUser: 1000, LocksPerUser: 1000, Lease: time.Hour,
	Retained: 1000, RetainedBytes: 64 << 20, RetainedPerUser: 1000, RetainedBytesPerUser: 64 << 20, RequestsPerUser: 1000, WillsPerUser: 1000,
	FilesPerUser: 64, FileBytesPerUser: 1 << 30,
}

// A harness is a server whose loop runs in this process.
type harness struct {
	*Server
	t       testing.TB
	address string
	log     *logBuffer
	tid     int
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // of Run; to be read after ended
}

var servers atomic.Int64

// start runs a server until the test ends, when all it opened must be closed again.
func start(t testing.TB, change ...func(*Setup, *Options)) *harness {
	t.Helper()
	checkDescriptors(t)
	s, log := newServer(t, change...)
	h := &harness{
		Server: s, t: t, log: log, ended: make(chan struct{}),
		// In the abstract namespace: other users cannot search this test's directory.
		address: fmt.Sprintf("@ipcd-server-test-%d-%d", os.Getpid(), servers.Add(1)),
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: h.address}), unix.Listen(fd, 1000), s.Listen(fd, h.address))
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() {
		defer close(h.ended)
		h.err = s.Run(ctx)
	}()
	t.Cleanup(h.stop)
	h.on(func() { h.tid = unix.Gettid() })
	return h
}

// newServer makes a server that checks itself. What it logs goes to a buffer.
func newServer(t testing.TB, change ...func(*Setup, *Options)) (*Server, *logBuffer) {
	t.Helper()
	log := new(logBuffer)
	setup := Setup{Version: "1.2.3", Verify: true, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	setup.Journal = new(memory)
	opts := Options{Limits: testLimits, BusyPoll: 50 * time.Microsecond}
	for _, f := range change {
		f(&setup, &opts)
	}
	s, err := New(setup, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// stop ends the loop and waits for it.
func (h *harness) stop() {
	h.t.Helper()
	h.cancel()
	h.wait()
}

// wait waits for the end of the loop.
func (h *harness) wait() {
	h.t.Helper()
	select {
	case <-h.ended:
		if h.err != nil {
			h.t.Errorf("the loop ended with: %v", h.err)
		}
	case <-time.After(patience):
		h.t.Fatal("the loop does not end")
	}
}

// on runs f on the loop and waits for it.
func (h *harness) on(f func()) {
	h.t.Helper()
	done := make(chan struct{})
	if !h.Post(func() { f(); close(done) }) {
		h.t.Fatal("the loop has ended")
	}
	select {
	case <-done:
	case <-time.After(patience):
		h.t.Fatal("the loop does not turn")
	}
}

// until waits for a state of the server.
func (h *harness) until(what string, reached func() bool) {
	h.t.Helper()
	for limit := time.Now().Add(patience); ; {
		ok := false
		h.on(func() { ok = reached() })
		if ok {
			return
		}
		if time.Now().After(limit) {
			h.on(func() {
				for s := range h.set.All() {
					h.t.Logf("session %d: state %b, %v", s.ID, s.State(), &s.Conn)
				}
			})
			h.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// quiesce waits until the connections of this process but those given are buried.
func (h *harness) quiesce(left ...*client) {
	h.t.Helper()
	h.until("the other connections are gone", func() bool { return h.set.Net.Len() == len(left) })
}

// rest waits until all that was sent is executed, and everybody has been told what follows from it. What comes later is due to time, or to
// another process.
func (h *harness) rest() {
	h.t.Helper()
	h.until("the loop has nothing to do", func() bool { return h.idle() && !isReadable(h.set.Loop.FD()) })
	h.on(func() {}) // so that the turn in which it had come to rest is over, and what was done in it is written
}

func isReadable(fd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
}

// checkDescriptors fails the test if it leaves more descriptors open than there are now.
func checkDescriptors(t testing.TB) {
	before := descriptors(t)
	t.Cleanup(func() {
		for fd, what := range descriptors(t) {
			if before[fd] == "" {
				t.Errorf("descriptor %s is still open: %s", fd, what)
			}
		}
	})
}

// descriptors are those of this process, and what they are. A directory that is being read is left out: it is this one.
func descriptors(t testing.TB) map[string]string {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && !strings.HasSuffix(to, "/fd") {
			all[n.Name()] = to
		}
	}
	return all
}

// A client sees bytes.
type client struct {
	t    testing.TB
	h    *harness      // the server's; nil if what it says comes by way of another process
	sock *net.UnixConn // nil if another process has the socket
	w    io.Writer
	r    *bufio.Reader
	dec  *wire.Decoder
	from syscall.Conn          // what is read: the socket, or a pipe from the process that has it
	set  func(time.Time) error // the deadline of reading

	proven bool // the server knows that this process, or the other, is the one that connected
}

// prove sends a pidfd of this process, which the server must accept. cmd does that when it matters for the first time.
func (c *client) prove() {
	c.t.Helper()
	c.proven = true
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	c.cmdFDs([]int{fd}, "IPCD.PROVE")
	v := c.value()
	for v.Kind == wire.KindPush { // of what it has asked for before
		v = c.value()
	}
	if v.Str != "OK" {
		c.t.Fatalf("got %+v", v)
	}
}

// dial connects.
func (h *harness) dial() *client {
	h.t.Helper()
	c, err := net.Dial("unix", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return h.newConn(c.(*net.UnixConn))
}

// dial3 connects and says HELLO 3.
func (h *harness) dial3() *client {
	h.t.Helper()
	c := h.dial()
	c.do("HELLO", "3")
	return c
}

func (h *harness) newConn(sock *net.UnixConn) *client {
	c := &client{t: h.t, h: h, sock: sock, w: sock, from: sock, set: sock.SetReadDeadline}
	c.read(sock)
	return c
}

func (c *client) read(r io.Reader) {
	c.r = bufio.NewReaderSize(r, 64<<10)
	// The decoder takes a large enough buffer for its own, so exact bytes and values can be read in turn.
	c.dec = wire.NewDecoder(c.r, wire.Limits{Frame: 16 << 20, Words: 1 << 16, Depth: 16})
}

// send sends bytes as they are.
func (c *client) send(raw string) {
	c.t.Helper()
	if c.sock != nil {
		_ = c.sock.SetWriteDeadline(time.Now().Add(patience))
	}
	if _, err := io.WriteString(c.w, raw); err != nil {
		c.t.Errorf("cannot send %.80q: %v", raw, err) // not Fatal: it may be another goroutine's
	}
}

// cmd sends a command.
func (c *client) cmd(words ...string) {
	c.t.Helper()
	if !c.proven && strings.Contains(strings.ToLower(strings.Join(words, " ")), " for self") {
		c.prove()
	}
	c.send(string(wire.AppendCommand(nil, words...)))
}

// cmdFDs sends a command with descriptors beside it.
func (c *client) cmdFDs(fds []int, words ...string) {
	c.t.Helper()
	if _, _, err := c.sock.WriteMsgUnix(wire.AppendCommand(nil, words...), unix.UnixRights(fds...), nil); err != nil {
		c.t.Fatal(err)
	}
}

// want reads exactly these bytes.
func (c *client) want(raw string) {
	c.t.Helper()
	_ = c.set(time.Now().Add(patience))
	got := make([]byte, len(raw))
	n, err := io.ReadFull(c.r, got)
	if string(got[:n]) != raw {
		rest, _ := c.r.Peek(min(c.r.Buffered(), 200))
		c.t.Fatalf("got %.400q (%v), then %q;\nwant %.400q", got[:n], err, rest, raw)
	}
}

// value reads one value.
func (c *client) value() wire.Value {
	c.t.Helper()
	_ = c.set(time.Now().Add(patience))
	v, err := c.dec.Decode()
	if err != nil {
		c.t.Fatalf("cannot read a value: %v", err)
	}
	return v
}

// do sends a command and reads the value that answers, which must be no error.
func (c *client) do(words ...string) wire.Value {
	c.t.Helper()
	c.cmd(words...)
	v := c.value()
	if err := v.Err(); err != nil {
		c.t.Fatalf("%q: %v", words, err)
	}
	return v
}

// doEach sends n commands, many of them in one turn, and reads the values that answer, which must be no errors.
func (c *client) doEach(n int, words func(i int) []string) {
	c.t.Helper()
	const atOnce = 64
	for from := 0; from < n; from += atOnce {
		to := min(from+atOnce, n)
		var all []byte
		for i := from; i < to; i++ {
			all = wire.AppendCommand(all, words(i)...)
		}
		c.send(string(all))
		for i := from; i < to; i++ {
			if err := c.value().Err(); err != nil {
				c.t.Fatalf("%q: %v", words(i), err)
			}
		}
	}
}

// fails reads an error.
func (c *client) fails(code wire.Code, text string) {
	c.t.Helper()
	if v := c.value(); v.Kind != wire.KindError || !strings.HasPrefix(v.Str, string(code)+" ") || !strings.Contains(v.Str, text) {
		c.t.Fatalf("got %c %q %v, want %s …%s…", v.Kind, v.Str, v.Elems, code, text)
	}
}

// refused sends a command and reads the error that answers it.
func (c *client) refused(code wire.Code, text string, words ...string) {
	c.t.Helper()
	c.cmd(words...)
	c.fails(code, text)
}

// sync returns when the server has executed all that was sent, and nothing else was answered.
func (c *client) sync() {
	c.t.Helper()
	c.send("ECHO sync\r\n")
	c.want("$4\r\nsync\r\n")
}

// eof reads to the end of the connection, which must be all there is.
func (c *client) eof() {
	c.t.Helper()
	if rest := c.rest(); rest != "" {
		c.t.Fatalf("got %.400q, want the end", rest)
	}
}

// rest reads to the end of the connection.
func (c *client) rest() string {
	c.t.Helper()
	_ = c.set(time.Now().Add(patience))
	b, err := io.ReadAll(c.r)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("got %.200q, then %v", b, err)
	}
	return string(b)
}

// isTold reports whether there is something to be read, or the end, when all that was sent is executed.
func (c *client) isTold() (is bool) {
	c.t.Helper()
	if c.h != nil {
		c.h.rest()
	}
	if c.r.Buffered() > 0 {
		return true
	}
	raw, err := c.from.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { is = isReadable(int(fd)) })
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return is
}

// quiet checks that nothing is there to be read.
func (c *client) quiet() {
	c.t.Helper()
	if c.isTold() {
		_ = c.set(time.Now().Add(patience))
		b, err := c.r.Peek(1)
		rest, _ := c.r.Peek(min(c.r.Buffered(), 400))
		c.t.Fatalf("got %q %q (%v), want nothing", b, rest, err)
	}
}

// prompt has what is read next be there already, or on its way: it is no matter of time, nor of another process. So a test fails at once if
// it does not come.
func (c *client) prompt() *client {
	c.t.Helper()
	if !c.isTold() {
		c.t.Fatal("all that was sent is executed, and there is nothing to be read")
	}
	return c
}

func (c *client) close()     { _ = c.sock.Close() }
func (c *client) halfClose() { _ = c.sock.CloseWrite() }

// id is the connection's number.
func (c *client) id() uint64 { return uint64(c.do("CLIENT", "ID").Int) }

// session is the server's side. It is for the loop only.
func (h *harness) session(id uint64) *session.Session {
	for s := range h.set.All() {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// A logBuffer is what was logged, as text.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// cpu is the processor time that the loop has used.
func (h *harness) cpu() time.Duration {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc/self/task", strconv.Itoa(h.tid), "schedstat"))
	if err != nil {
		h.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		h.t.Fatal(err)
	}
	return time.Duration(n)
}

// grant is what LOCK.ACQUIRE answered.
type grant struct {
	token               string
	previous, abandoned string
}

func asGrant(t testing.TB, v wire.Value) grant {
	t.Helper()
	if v.Err() != nil || v.Get("token").Int == 0 {
		t.Fatalf("got %+v, want a grant", v)
	}
	return grant{v.Get("token").Text(), v.Get("previous").Str, v.Get("abandoned").Str}
}

// acquire takes a lock and returns what the server said.
func (c *client) acquire(words ...string) grant {
	c.t.Helper()
	c.cmd(append([]string{"LOCK.ACQUIRE"}, words...)...)
	return c.granted()
}

func (c *client) granted() grant {
	c.t.Helper()
	return asGrant(c.t, c.value())
}

// queue asks for a lock and returns when the request waits.
func (h *harness) queue(c *client, words ...string) {
	h.t.Helper()
	before := 0
	h.on(func() { before = h.figures().Requests })
	c.cmd(append([]string{"LOCK.ACQUIRE"}, words...)...)
	h.until("a request waits", func() bool { return h.figures().Requests == before+1 })
}

// claims checks what all users together are charged for holds and waits.
func (h *harness) claims(want int) {
	h.t.Helper()
	got := 0
	h.on(func() { got = h.set.Users.Total(account.Locks) })
	if got != want {
		h.t.Errorf("%d holds and waits are charged, want %d", got, want)
	}
}

// figures are those of the locks.
func (s *Server) figures() locks.Figures { return s.locks.Figures() }
