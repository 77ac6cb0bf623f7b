package server

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// memfd makes a file in memory, with seals.
func memfd(t testing.TB, text string, seals int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	for b := []byte(text); len(b) > 0; {
		n, err := unix.Write(fd, b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return fd
}

// A taker is a client that takes descriptors.
type taker struct {
	*client
	fds []int
}

// Read keeps the descriptors that come beside what is read.
func (k *taker) Read(b []byte) (int, error) {
	rights := make([]byte, unix.CmsgSpace(8*4))
	n, size, flags, _, err := k.sock.ReadMsgUnix(b, rights)
	if err != nil {
		return n, err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		k.t.Error("a descriptor was lost")
	}
	messages, err := unix.ParseSocketControlMessage(rights[:size])
	if err != nil {
		k.t.Error(err)
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			k.t.Error(err)
		}
		k.fds = append(k.fds, fds...)
	}
	return n, nil
}

// take connects, and subscribes to a filter with files.
func (h *harness) take(filter string) *taker {
	h.t.Helper()
	k := &taker{client: h.dial3()}
	k.read(k)
	k.do("BUS.SUB", filter, "FD")
	h.t.Cleanup(k.drop)
	return k
}

// drop closes what was not taken.
func (k *taker) drop() {
	for _, fd := range k.fds {
		_ = unix.Close(fd)
	}
	k.fds = nil
}

// file is the next message, which must have a file, and that.
func (k *taker) file(kind string) (v wire.Value, fd int) {
	k.t.Helper()
	v = k.value()
	if len(v.Elems) != 11 || v.Elems[0].Str != "bus.message" || v.Elems[10].Get("file").Str != kind || v.Elems[10].Get("fd").Int != 1 || len(k.fds) == 0 {
		k.t.Fatalf("got %+v and %d descriptors, want a message with a file that is %s", v, len(k.fds), kind)
	}
	fd = k.fds[0]
	k.fds = k.fds[1:]
	k.t.Cleanup(func() { _ = unix.Close(fd) })
	return v, fd
}

// TestFileOfItsCommand: a descriptor is for the command that it came with, whatever becomes of those before and behind it.
func TestFileOfItsCommand(t *testing.T) {
	type command struct {
		words string
		file  string
	}
	published := "*6\r\n$3\r\nseq"
	for _, c := range []struct {
		name     string
		commands []command
		want     []string // how the replies begin
		files    string   // what is published
		apart    bool     // only if each is read by itself: otherwise it cannot be told
	}{
		{"behind one whose words are those of a file, and are not", []command{
			{"BUS.PUB t p HEADER a FD EXPIRES 0", ""}, {"BUS.PUB t p FD sealed", "1"}, {"BUS.PUB t p FD sealed", "2"},
		}, []string{"-ERR ", published, published}, "12", false},
		{"behind a lock that is refused", []command{
			{"LOCK.ACQUIRE a FOR self WAIT x", ""}, {"BUS.PUB t p FD sealed", "1"}, {"BUS.PUB t p FD sealed", "2"},
		}, []string{"-ERR ", published, published}, "12", false},
		{"behind one that is refused, without a file", []command{
			{"BUS.PUB t p UNDER l 1", ""}, {"BUS.PUB t p FD sealed", "1"},
		}, []string{"-NOLOCK ", published}, "1", false},
		{"behind one that is refused, with a file", []command{
			{"BUS.PUB t p FD sealed UNDER l 1", "0"}, {"BUS.PUB t p FD sealed", "1"},
		}, []string{"-NOLOCK ", published}, "1", false},
		{"behind one that lacks its file", []command{
			{"BUS.PUB t p FD sealed", ""}, {"BUS.PUB t p", ""}, {"BUS.PUB t p FD sealed", "1"},
		}, []string{"-ERR ", published, published}, "p1", true},
		{"in a transaction", []command{
			{"MULTI", ""}, {"BUS.PUB t p UNDER l 1", ""}, {"BUS.PUB t p FD sealed", ""}, {"EXEC", "1"}, {"BUS.PUB t p FD sealed", "2"},
		}, []string{"+OK", "+QUEUED", "+QUEUED", "*2\r\n-NOLOCK ", published}, "12", false},
	} {
		for _, apart := range []bool{true, false} { // what is sent apart, and read so
			if c.apart && !apart {
				continue
			}
			s := newStage(t)
			pub, sub := s.connect(1000), s.connect(1000)
			sub.cmd("SUBSCRIBE", "t")
			s.settle()
			sub.Take()
			got := ""
			for _, command := range c.commands {
				b := wire.AppendCommand(nil, strings.Fields(command.words)...)
				if command.file == "" {
					pub.Send(b...)
				} else {
					pub.SendFDs(b, memfd(t, command.file, allSeals))
				}
				if apart {
					s.settle()
					got += pub.Take()
				}
			}
			s.settle()
			got += pub.Take()
			rest := got
			for _, want := range c.want {
				if !strings.HasPrefix(rest, want) {
					t.Errorf("%s, apart %v: got %q, want it to go on with %q at %q", c.name, apart, got, want, rest)
					break
				}
				rest = rest[conn.ValueLen([]byte(rest)):]
			}
			files := ""
			for b := sub.Take(); b != ""; b = b[conn.ValueLen([]byte(b)):] {
				v, err := wire.NewDecoder(strings.NewReader(b), wire.DefaultLimits).Decode()
				if err != nil {
					t.Fatal(err)
				}
				files += v.Elems[2].Str
			}
			if files != c.files {
				t.Errorf("%s, apart %v: published %q, want %q", c.name, apart, files, c.files)
			}
		}
	}
}

// readAll reads on in a file, to its end.
func readAll(t testing.TB, fd int) string {
	t.Helper()
	all, b := "", make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, b)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return all
		}
		all += string(b[:n])
	}
}

// published reads the receipt of a message.
func (c *client) published(delivered, dropped int) {
	c.t.Helper()
	if v := c.value(); v.Err() != nil || v.Get("delivered").Int != int64(delivered) || v.Get("dropped").Int != int64(dropped) {
		c.t.Fatalf("got %+v, want %d delivered and %d dropped", v, delivered, dropped)
	}
}

// TestFileSealed: who takes files gets one of his own, which nobody can change; who does not gets the bytes, or the payload if there are
// too many.
func TestFileSealed(t *testing.T) {
	h := start(t)
	one, two := h.take("a/#"), h.take("a/#")
	plain, redis, envelope, raw := h.dial3(), h.dial(), h.dial(), h.dial()
	plain.do("BUS.SUB", "a/#")
	redis.do("SUBSCRIBE", "a/b")
	envelope.do("PSUBSCRIBE", "ipcd/filter-json/a/#")
	raw.do("BUS.SUB", "a/+", "RAW")
	p := h.dial()

	text := strings.Repeat("0123456789", 10_000)
	p.cmdFDs([]int{memfd(t, text, allSeals)}, "BUS.PUB", "a/b", "instead", "FD", "sealed", "HEADER", "name", "x")
	p.published(6, 0)
	v, first := one.file("sealed")
	if got := v.Elems[10]; v.Elems[3].Str != "instead" || got.Get("size").Int != int64(len(text)) || got.Get("headers").Get("name").Str != "x" {
		t.Errorf("got %+v", v)
	}
	b := make([]byte, 1000)
	if n, err := unix.Read(first, b); n != len(b) || err != nil || string(b) != text[:len(b)] {
		t.Fatalf("read %d %v", n, err)
	}
	_, second := two.file("sealed")
	if got := readAll(t, second); got != text {
		t.Errorf("the second got %d bytes: another has moved its position", len(got))
	}
	if got := readAll(t, first); got != text[len(b):] {
		t.Errorf("the first goes on with %d bytes", len(got))
	}
	if seals, err := unix.FcntlInt(uintptr(second), unix.F_GET_SEALS, 0); seals != allSeals || err != nil {
		t.Errorf("seals %x, %v", seals, err)
	}
	if _, err := unix.Write(second, []byte("x")); err != unix.EBADF {
		t.Errorf("write: %v", err)
	}
	if v := plain.value(); v.Elems[3].Str != text || v.Elems[10].Get("file").Str != "" || v.Elems[10].Get("headers").Get("name").Str != "x" {
		t.Errorf("who takes no files got %.200v", v)
	}
	if v := redis.value(); v.Elems[2].Str != text {
		t.Errorf("who subscribed as to Redis got %.200v", v)
	}
	if v := envelope.value(); !strings.HasSuffix(v.Elems[3].Str, `"headers":{"name":"x"},"payload":"`+text+`"}`) {
		t.Errorf("in the envelope: %.300s", v.Elems[3].Str)
	}
	if v := raw.value(); v.Elems[3].Str != text {
		t.Errorf("on RESP2: %.200v", v)
	}

	// One byte more than is read to those who take no files.
	size := wire.MaxFileRead + 1
	p.cmdFDs([]int{memfd(t, strings.Repeat("x", size), allSeals)}, "BUS.PUB", "a/b", "instead", "FD", "SEALED")
	p.published(6, 0)
	_, fd := one.file("sealed")
	if got := readAll(t, fd); len(got) != size {
		t.Errorf("got %d bytes", len(got))
	}
	two.file("sealed")
	for who, v := range map[string]wire.Value{"plain": plain.value(), "raw": raw.value()} {
		more := v.Elems[10]
		if who == "raw" {
			more.Kind = wire.KindMap
		}
		if v.Elems[3].Str != "instead" || more.Get("file").Str != "sealed" || more.Get("size").Int != int64(size) || len(more.Get("fd").Str) > 0 || more.Get("fd").Int != 0 {
			t.Errorf("%s got %+v", who, v)
		}
	}
	if v := redis.value(); v.Elems[2].Str != "instead" {
		t.Errorf("who subscribed as to Redis got %.200v", v)
	}
	if v := envelope.value(); !strings.HasSuffix(v.Elems[3].Str, fmt.Sprintf(`,"file":"sealed","size":%d,"payload":"instead"}`, size)) {
		t.Errorf("in the envelope: %.300s", v.Elems[3].Str)
	}

	// To be asked again, or to speak RESP2, changes it; what is between two messages stays there.
	one.do("BUS.SUB", "a/#")
	two.cmd("HELLO", "2")
	two.value()
	p.do("BUS.PUB", "a/b", "before")
	p.cmdFDs([]int{memfd(t, "small", allSeals)}, "BUS.PUB", "a/b", "instead", "FD", "sealed")
	p.published(6, 0)
	p.do("BUS.PUB", "a/b", "behind")
	for _, k := range []*taker{one, two} {
		for _, want := range []string{"before", "small", "behind"} {
			if v := k.value(); v.Elems[3].Str != want || len(k.fds) > 0 {
				t.Errorf("got %+v and %d descriptors, want %q", v, len(k.fds), want)
			}
		}
	}
}

// TestFileOrder: messages with a file and without come in their order, to those who take files and to those who do not, all published
// in one turn.
func TestFileOrder(t *testing.T) {
	s := newStage(t)
	s.kernel.Dup = true
	plain, k, p := s.connect(1000), s.connect(1000), s.connect(1001)
	for _, c := range []actor{plain, k} {
		c.cmd("HELLO", "3")
	}
	plain.cmd("BUS.SUB", "a")
	k.cmd("BUS.SUB", "a", "FD")
	s.settle()
	for _, room := range []int{-1, 0} {
		k.Take()
		plain.Take()
		k.SetRoom(room)
		for i := range 6 {
			if i%3 == 1 {
				p.SendFDs(wire.AppendCommand(nil, "BUS.PUB", "a", fmt.Sprint(i), "FD", "sealed"), dup(t, memfd(t, fmt.Sprint("file ", i), allSeals)))
			} else {
				p.cmd("BUS.PUB", "a", fmt.Sprint(i))
			}
		}
		s.settle()
		k.SetRoom(-1)
		s.settle()
		got := ""
		for v := range values(t, []byte(k.Take())) {
			got += v.Elems[3].Str
			if len(v.Elems) > 10 {
				got += "+"
			}
		}
		if got != "01+234+5" || len(k.FDs) != 2 {
			t.Errorf("with room %d: got %q, %d descriptors", room, got, len(k.FDs))
		}
		for i, fd := range k.FDs {
			if text := readAll(t, fd); text != fmt.Sprint("file ", 3*i+1) {
				t.Errorf("with room %d: file %d has %q", room, i, text)
			}
			_ = unix.Close(fd)
		}
		k.FDs = nil
		got = ""
		for v := range values(t, []byte(plain.Take())) {
			got += v.Elems[3].Str + ","
		}
		if got != "0,file 1,2,3,file 4,5," {
			t.Errorf("who takes no files got %q", got)
		}
	}
}

// dup gives a descriptor away.
func dup(t testing.TB, fd int) int {
	t.Helper()
	other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// TestFileRefused: what is not sealed is refused, with what is wrong, and no other command gets it.
func TestFileRefused(t *testing.T) {
	h := start(t)
	k, p := h.take("a"), h.dial()
	dir := t.TempDir()
	open := func(path string, flags int) int {
		t.Helper()
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	name := filepath.Join(dir, "file")
	regular := open(name, unix.O_RDWR|unix.O_CREAT)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range append(pipe[:], sockets[:]...) {
			_ = unix.Close(fd)
		}
	})
	mapped := memfd(t, "x", unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	sealed := memfd(t, "right", allSeals)
	for _, c := range []struct {
		what string
		fd   int // below 0: none
		args []string
		want string
	}{
		{"no seals", memfd(t, "x", 0), nil, "it lacks F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL, so it could change"},
		{"not that of writing", mapped, nil, "it lacks F_SEAL_WRITE, so it could change"},
		{"writing in new places only", memfd(t, "x", unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL|unix.F_SEAL_FUTURE_WRITE), nil, "it lacks F_SEAL_WRITE"},
		{"seals can be added", memfd(t, "x", allSeals&^unix.F_SEAL_SEAL), nil, "it lacks F_SEAL_SEAL"},
		{"a regular file", regular, nil, "it is a file of a file system"},
		{"a directory", open(dir, unix.O_RDONLY|unix.O_DIRECTORY), nil, "it is a directory"},
		{"a pipe", pipe[0], nil, "it is a pipe"},
		{"a socket", sockets[0], nil, "it is a socket"},
		{"a device", open("/dev/null", unix.O_RDWR), nil, "it is a device"},
		{"a path", open(name, unix.O_PATH), nil, "it was opened by O_PATH"},
		{"none", -1, nil, "wants a descriptor sent along (SCM_RIGHTS), and none came"},
		{"another word", sealed, []string{"FD", "maybe"}, `FD wants sealed or open, not "maybe"`},
		{"no word", sealed, []string{"FD"}, "syntax error"},
		{"a word behind", sealed, []string{"FD", "sealed", "MORE"}, "syntax error"},
		{"retained", sealed, []string{"FD", "sealed", "RETAIN"}, "RETAIN keeps bytes"},
		{"no topic", sealed, []string{"", "FD", "sealed"}, "BADNAME"},
		{"no right", sealed, []string{"ipcd/x", "FD", "sealed"}, "DENIED"},
	} {
		topic, args := "a", c.args
		switch {
		case args == nil:
			args = []string{"FD", "sealed"}
		case args[0] != "FD":
			topic, args = args[0], args[1:]
		}
		command := wire.AppendCommand(nil, append([]string{"BUS.PUB", topic, "payload"}, args...)...)
		// In one write with the next: that has its own descriptor.
		command = wire.AppendCommand(command, "BUS.PUB", "a", c.what, "FD", "sealed")
		fds := []int{c.fd, sealed}
		if c.fd < 0 {
			command, fds = wire.AppendCommand(nil, "BUS.PUB", "a", "payload", "FD", "sealed"), nil
		}
		if _, _, err := p.sock.WriteMsgUnix(command, unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
		if v := p.value(); v.Kind != wire.KindError || !strings.Contains(v.Str, c.want) {
			t.Errorf("%s: got %v, want %q", c.what, v, c.want)
		}
		if c.fd >= 0 {
			p.published(1, 0)
			if v, fd := k.file("sealed"); v.Elems[3].Str != c.what || readAll(t, fd) != "right" {
				t.Errorf("behind %s: got %v, or another file", c.what, v)
			}
		}
	}
	// One that no command takes is closed.
	p.cmdFDs([]int{sealed, sealed}, "BUS.PUB", "a", "two", "FD", "sealed")
	p.published(1, 0)
	k.file("sealed")
	p.refused(wire.CodeErr, "none came", "BUS.PUB", "a", "payload", "FD", "sealed")
	h.dial().refused(wire.CodeErr, "needs RESP3", "BUS.SUB", "a", "FD")
	// Requests and answers go without: what was sent beside one is not taken for that of the next command.
	wrong := memfd(t, "wrong", allSeals)
	for _, words := range [][]string{{"BUS.REQ", "a", "payload", "FD", "sealed"}, {"BUS.REPLY", "1", "payload", "FD", "sealed"}} {
		command := wire.AppendCommand(wire.AppendCommand(nil, words...), "BUS.PUB", "a", words[0], "FD", "sealed")
		if _, _, err := p.sock.WriteMsgUnix(command, unix.UnixRights(wrong, sealed), nil); err != nil {
			t.Fatal(err)
		}
		if v := p.value(); v.Kind != wire.KindError || !strings.Contains(v.Str, "go without files") {
			t.Errorf("%s: got %v", words[0], v)
		}
		p.published(1, 0)
		if v, fd := k.file("sealed"); v.Elems[3].Str != words[0] || readAll(t, fd) != "right" {
			t.Errorf("behind %s: got %v, or another file", words[0], v)
		}
	}
}

// TestFileSenderCannotChange: what its sender does later changes nothing.
func TestFileSenderCannotChange(t *testing.T) {
	h := start(t)
	k, p := h.take("a"), h.dial()
	fd := memfd(t, "as it was", allSeals)
	p.cmdFDs([]int{fd}, "BUS.PUB", "a", "", "FD", "sealed")
	p.published(1, 0)
	for what, err := range map[string]error{
		"write": func() error { _, err := unix.Pwrite(fd, []byte("x"), 0); return err }(), "truncate": unix.Ftruncate(fd, 1), "grow": unix.Ftruncate(fd, 100),
	} {
		if err != unix.EPERM {
			t.Errorf("%s: %v", what, err)
		}
	}
	_ = unix.Close(fd)
	if _, fd := k.file("sealed"); readAll(t, fd) != "as it was" {
		t.Error("it is another")
	}
}

// TestFileOpen: any open file is passed as it is, and is not said to be more.
func TestFileOpen(t *testing.T) {
	h := start(t)
	one, two, plain, p := h.take("a"), h.take("a"), h.dial3(), h.dial()
	plain.do("BUS.SUB", "a")
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("0123456789"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(2, 0); err != nil {
		t.Fatal(err)
	}
	p.cmdFDs([]int{int(f.Fd())}, "BUS.PUB", "a", "a file", "FD", "open")
	p.published(3, 0)
	v, first := one.file("open")
	if v.Elems[3].Str != "a file" || v.Elems[10].Get("size").Int != 10 {
		t.Errorf("got %+v", v)
	}
	b := make([]byte, 3)
	if _, err := unix.Read(first, b); err != nil || string(b) != "234" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, second := two.file("open"); readAll(t, second) != "56789" {
		t.Error("it is not the file itself")
	}
	if v := plain.value(); v.Elems[3].Str != "a file" || v.Elems[10].Get("file").Str != "open" || v.Elems[10].Get("fd").Int != 0 {
		t.Errorf("who takes no files got %+v", v)
	}

	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	p.cmdFDs(pipe[:1], "BUS.PUB", "a", "", "FD", "open")
	p.published(3, 0)
	v, fd := one.file("open")
	two.file("open")
	if v.Elems[10].Get("size").Int != -1 {
		t.Errorf("got %+v", v)
	}
	if _, err := unix.Write(pipe[1], []byte("through")); err != nil {
		t.Fatal(err)
	}
	_, _ = unix.Close(pipe[0]), unix.Close(pipe[1])
	if got := readAll(t, fd); got != "through" {
		t.Errorf("read %q", got)
	}
}

// TestFileThatCannotBeOpenedAnew is passed as it is.
func TestFileThatCannotBeOpenedAnew(t *testing.T) {
	h := start(t)
	k, p := h.take("a"), h.dial()
	fd := memfd(t, "closed to others", allSeals)
	if err := unix.Fchmod(fd, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // who may read everything
		h.on(func() {
			runtime.LockOSThread() // which is another user's as long as the loop is on it
			_ = unix.Setfsuid(65534)
		})
		defer h.on(func() {
			_ = unix.Setfsuid(0)
			runtime.UnlockOSThread()
		})
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		t.Fatal(err)
	}
	p.cmdFDs([]int{fd}, "BUS.PUB", "a", "payload", "FD", "sealed")
	p.published(1, 0)
	if _, fd := k.file("open"); readAll(t, fd) != "closed to others" {
		t.Error("it is another")
	}
}

// TestFileSentTwice: a repeat is answered from what the first was, and what came with it is closed.
func TestFileSentTwice(t *testing.T) {
	h := start(t)
	k, p := h.take("a"), h.dial()
	first, second := memfd(t, "first", allSeals), memfd(t, "second", allSeals)
	p.cmdFDs([]int{first}, "BUS.PUB", "a", "", "FD", "sealed", "REQID", "1")
	p.published(1, 0)
	both := wire.AppendCommand(wire.AppendCommand(nil, "BUS.PUB", "a", "", "FD", "sealed", "REQID", "1"), "BUS.PUB", "a", "", "FD", "sealed", "REQID", "2")
	if _, _, err := p.sock.WriteMsgUnix(both, unix.UnixRights(first, second), nil); err != nil {
		t.Fatal(err)
	}
	p.published(1, 0)
	p.published(1, 0)
	for _, want := range []string{"first", "second"} {
		if _, fd := k.file("sealed"); readAll(t, fd) != want {
			t.Errorf("it is not the %s", want)
		}
	}
	k.sync()
}

// TestFileInTransaction: the descriptor comes with EXEC.
func TestFileInTransaction(t *testing.T) {
	h := start(t)
	k, p := h.take("a"), h.dial()
	p.do("MULTI")
	p.do("BUS.PUB", "a", "", "FD", "sealed")
	p.do("PING")
	p.cmdFDs([]int{memfd(t, "in it", allSeals)}, "EXEC")
	if v := p.value(); len(v.Elems) != 2 || v.Elems[1].Str != "PONG" {
		t.Fatalf("got %+v", v)
	}
	if _, fd := k.file("sealed"); readAll(t, fd) != "in it" {
		t.Error("it is another")
	}
	p.do("MULTI")
	p.do("BUS.PUB", "a", "", "FD", "sealed")
	p.cmd("EXEC")
	if v := p.value(); len(v.Elems) != 1 || !strings.Contains(v.Elems[0].Str, "none came") {
		t.Errorf("got %+v", v)
	}
}

// TestFilesWait: what a receiver does not read is kept, up to what its user may have, and charged to that; then it loses the oldest, and is
// told, and nothing is charged when it has read, or is gone.
func TestFilesWait(t *testing.T) {
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.FilesPerUser, o.Limits.FileBytesPerUser = 3, 1000 })
	s.kernel.Dup = true
	p, k, other := s.connect(1000), s.connect(1001), s.connect(1002)
	for _, c := range []actor{k, other} {
		c.cmd("HELLO", "3")
		c.cmd("BUS.SUB", "a", "FD")
	}
	s.settle()
	publish := func(text string) {
		p.SendFDs(wire.AppendCommand(nil, "BUS.PUB", "a", text, "FD", "sealed"), dup(t, memfd(t, text, allSeals)))
		s.settle()
	}
	received := func(c actor) (got string) {
		t.Helper()
		for v := range values(t, []byte(c.Take())) {
			switch v.Elems[0].Str {
			case "bus.lost":
				got += fmt.Sprintf("lost %d ", v.Elems[2].Int)
			case "bus.message":
				if v.Elems[10].Get("fd").Int == 1 {
					if text := readAll(t, c.FDs[0]); text != v.Elems[3].Str {
						t.Errorf("beside %q is %q", v.Elems[3].Str, text)
					}
					_ = unix.Close(c.FDs[0])
					c.FDs = c.FDs[1:]
				}
				got += v.Elems[3].Str[:1] + " "
			}
		}
		if len(c.FDs) > 0 {
			t.Errorf("%d descriptors too many", len(c.FDs))
		}
		c.FDs = nil
		return got
	}
	charged := func(files, bytes int) {
		t.Helper()
		if got, size := s.set.Users.Total(account.Files), s.set.Users.Total(account.FileBytes); got != files || size != bytes {
			t.Errorf("%d files of %d bytes are charged, want %d of %d", got, size, files, bytes)
		}
	}
	k.Take()
	other.Take()
	k.SetRoom(0)
	for _, text := range []string{"1", "2", "3", "4", "5"} {
		publish(text)
	}
	charged(3, 3)
	k.SetRoom(-1)
	s.settle()
	if got := received(k); got != "lost 2 3 4 5 " {
		t.Errorf("who was slow got %q", got)
	}
	if got := received(other); got != "1 2 3 4 5 " {
		t.Errorf("who was not got %q", got)
	}
	charged(0, 0)

	// By bytes; and one that is too large by itself is all that is lost.
	k.SetRoom(0)
	publish("1" + strings.Repeat("x", 599))
	publish("2" + strings.Repeat("x", 599))
	publish("3" + strings.Repeat("x", 1000))
	charged(0, 0)
	publish("4")
	charged(1, 1)
	k.SetRoom(-1)
	s.settle()
	if got := received(k); got != "lost 2 lost 1 4 " {
		t.Errorf("who was slow got %q", got)
	}
	received(other)

	// Messages without files are not dropped for what another connection of the user has.
	second := s.connect(1001)
	second.cmd("HELLO", "3")
	second.cmd("BUS.SUB", "b", "FD")
	s.settle()
	second.Take()
	k.SetRoom(0)
	second.SetRoom(0)
	for _, text := range []string{"1", "2", "3"} {
		publish(text)
	}
	p.cmd("BUS.PUB", "b", "4")
	p.SendFDs(wire.AppendCommand(nil, "BUS.PUB", "b", "5", "FD", "sealed"), dup(t, memfd(t, "5", allSeals)))
	p.cmd("BUS.PUB", "b", "6")
	s.settle()
	charged(3, 3)
	second.SetRoom(-1)
	s.settle()
	got := ""
	for v := range values(t, []byte(second.Take())) {
		if got += v.Elems[2].Str; v.Elems[0].Str == "bus.message" {
			got += v.Elems[3].Str
		}
		got += fmt.Sprint(v.Elems[0].Str[4:], " ")
	}
	if got != "b4message lost b6message " {
		t.Errorf("the other connection got %q", got)
	}

	// Who is gone is charged nothing.
	k.Close()
	s.settle()
	charged(0, 0)
	if s.kernel.Discarded != 13 { // one for each that was published
		t.Errorf("%d descriptors are closed", s.kernel.Discarded)
	}
	received(other)
}

// TestFilesToTheStopped: one who does not read loses what is too much and is told, nobody else waits for it, and all that it gets is right.
func TestFilesToTheStopped(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.FilesPerUser = 16 })
	slow, quick, p := h.take("a"), h.take("a"), h.dial()
	const messages = 300
	delivered, dropped := 0, 0
	for i := range messages {
		p.cmdFDs([]int{memfd(t, fmt.Sprint(i), allSeals)}, "BUS.PUB", "a", fmt.Sprint(i), "FD", "sealed")
		v := p.value()
		delivered += int(v.Get("delivered").Int)
		dropped += int(v.Get("dropped").Int)
		if v, fd := quick.file("sealed"); v.Elems[3].Str != fmt.Sprint(i) || readAll(t, fd) != fmt.Sprint(i) {
			t.Fatalf("got %+v, want %d", v, i)
		}
	}
	if dropped == 0 {
		t.Errorf("nothing was dropped of %d: who does not read is sent without end", messages)
	}
	next, lost := 0, 0
	for next < messages {
		v := slow.value()
		if v.Elems[0].Str == "bus.lost" {
			lost += int(v.Elems[2].Int)
			next += int(v.Elems[2].Int)
			continue
		}
		if v.Elems[3].Str != fmt.Sprint(next) || len(slow.fds) == 0 || readAll(t, slow.fds[0]) != v.Elems[3].Str {
			t.Fatalf("got %+v, want %d", v, next)
		}
		_ = unix.Close(slow.fds[0])
		slow.fds = slow.fds[1:]
		next++
	}
	if next != messages || lost != dropped || delivered != 2*messages {
		t.Errorf("%d messages, of which %d were lost; told the publisher: %d delivered, %d dropped", next, lost, delivered, dropped)
	}
	slow.sync()
	h.until("nothing is charged", func() bool { return h.set.Users.Total(account.Files) == 0 })
}

// TestFileToMany: what a turn has no time for stands in line, with its file.
func TestFileToMany(t *testing.T) {
	s := newStage(t)
	s.kernel.Dup = true
	p := s.connect(1000)
	var all []actor
	for range 100 {
		k := s.connect(1001)
		k.cmd("HELLO", "3")
		k.cmd("BUS.SUB", "a", "FD")
		all = append(all, k)
	}
	s.settle()
	for _, k := range all {
		k.Take()
	}
	inLine := 0
	s.kernel.Sent = func() {
		inLine = max(inLine, s.set.Users.Of(1000).Used(account.Files))
	}
	p.SendFDs(wire.AppendCommand(nil, "BUS.PUB", "a", "x", "FD", "sealed"), dup(t, memfd(t, "to all", allSeals)))
	p.cmd("BUS.PUB", "a", "y")
	s.settle()
	if got := p.Take(); strings.Count(got, "delivered\r\n:100\r\n") != 2 {
		t.Errorf("answered %q", got)
	}
	for i, k := range all {
		got := ""
		for v := range values(t, []byte(k.Take())) {
			got += v.Elems[3].Str
		}
		if got != "xy" || len(k.FDs) != 1 || readAll(t, k.FDs[0]) != "to all" {
			t.Errorf("receiver %d got %q and %d files", i, got, len(k.FDs))
		}
		for _, fd := range k.FDs {
			_ = unix.Close(fd)
		}
	}
	if inLine != 1 || s.kernel.Discarded != 1 {
		t.Errorf("%d files stood in line, %d were closed", inLine, s.kernel.Discarded)
	}
}

// TestFileWithoutDescriptors: if the daemon has no descriptor left, the publisher is told, or the receiver.
func TestFileWithoutDescriptors(t *testing.T) {
	s := newStage(t)
	s.kernel.Dup = true
	p, k := s.connect(1000), s.connect(1001)
	k.cmd("HELLO", "3")
	k.cmd("BUS.SUB", "a", "FD")
	s.settle()
	k.Take()
	exhausted := func(f func()) {
		t.Helper()
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		none := limit
		none.Cur = 0
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		f()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	publish := func() {
		p.SendFDs(wire.AppendCommand(nil, "BUS.PUB", "a", "x", "FD", "sealed"), dup(t, memfd(t, "x", allSeals)))
	}
	publish()
	exhausted(s.settle)
	if got := p.Take(); !strings.HasPrefix(got, "-QUOTA the daemon has no file descriptor left") {
		t.Errorf("answered %q", got)
	}
	k.SetRoom(0)
	publish()
	s.settle()
	k.SetRoom(-1)
	exhausted(s.settle)
	p.cmd("BUS.PUB", "a", "y")
	s.settle()
	got := ""
	for v := range values(t, []byte(k.Take())) {
		got += v.Elems[0].Str + " "
	}
	if got != "bus.lost bus.message " || len(k.FDs) > 0 {
		t.Errorf("the receiver got %q and %d descriptors", got, len(k.FDs))
	}
	if s.kernel.Discarded != 2 || s.set.Users.Total(account.Files) > 0 {
		t.Errorf("%d descriptors are closed, %d charged", s.kernel.Discarded, s.set.Users.Total(account.Files))
	}
}

// TestFileToGroup: members are given what is in the file, or the payload, also when they take it later than it was published.
func TestFileToGroup(t *testing.T) {
	h := start(t)
	k, member, p := h.take("a"), h.dial3(), h.dial()
	member.refused(wire.CodeErr, "FD does not go with GROUP", "BUS.SUB", "a", "GROUP", "g", "FD")
	member.do("BUS.SUB", "a", "GROUP", "g", "TAKE", "0")
	for _, text := range []string{"small", strings.Repeat("x", wire.MaxFileRead+1)} {
		p.cmdFDs([]int{memfd(t, text, allSeals)}, "BUS.PUB", "a", "instead", "FD", "sealed")
		p.published(2, 0)
		k.file("sealed")
	}
	member.do("BUS.SUB", "a", "GROUP", "g", "TAKE", "2")
	if v := member.value(); v.Elems[3].Str != "small" || v.Elems[10].Get("file").Str != "" {
		t.Errorf("got %+v", v)
	}
	if v := member.value(); v.Elems[3].Str != "instead" || v.Elems[10].Get("file").Str != "sealed" || v.Elems[10].Get("size").Int != wire.MaxFileRead+1 {
		t.Errorf("got %+v", v)
	}
	h.on(func() {
		if h.set.Users.Total(account.Files) > 0 {
			t.Error("a file is charged")
		}
	})
}
