package testdaemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Peer is a connection to a server that speaks RESP. Its methods fail the test when something goes wrong that is not
// what they return.
type Peer struct {
	*net.UnixConn
	t testing.TB
	r *bufio.Reader
}

// Dial connects to a Unix socket. The connection is closed when the test ends, at the latest.
func Dial(t testing.TB, socket string) *Peer {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return NewPeer(t, c)
}

// Dial connects to the daemon.
func (d *Daemon) Dial(t testing.TB) *Peer {
	t.Helper()
	return Dial(t, d.Socket)
}

// NewPeer makes a Peer of a connection.
func NewPeer(t testing.TB, c *net.UnixConn) *Peer {
	return &Peer{UnixConn: c, t: t, r: bufio.NewReaderSize(c, 64<<10)}
}

// Send writes bytes as they are.
func (p *Peer) Send(b string) {
	p.t.Helper()
	p.deadline()
	if _, err := io.WriteString(p.UnixConn, b); err != nil {
		p.t.Fatalf("cannot send: %v", err)
	}
}

// deadline is set before each operation, so that nothing waits for ever.
func (p *Peer) deadline() { _ = p.SetDeadline(time.Now().Add(patience)) }

// Cmd encodes a command as client libraries do: an array of bulk strings.
func Cmd(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// Do sends a command and returns the frame that comes next.
func (p *Peer) Do(words ...string) string {
	p.t.Helper()
	p.Send(Cmd(words...))
	return p.Frame()
}

// Ask is Do for a connection that somebody may end.
func (p *Peer) Ask(words ...string) (string, error) {
	p.deadline()
	if _, err := io.WriteString(p.UnixConn, Cmd(words...)); err != nil {
		return "", err
	}
	return p.Next()
}

// Frame is the next frame of what comes in, as the bytes it is.
func (p *Peer) Frame() string {
	p.t.Helper()
	f, err := p.Next()
	if err != nil {
		p.t.Fatalf("cannot read a reply: %v (got %q)", err, f)
	}
	return f
}

// Want fails the test unless the frames that come next are these bytes.
func (p *Peer) Want(frames ...string) {
	p.t.Helper()
	for _, want := range frames {
		if got := p.Frame(); got != want {
			p.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// Next is Frame for a connection that may have ended: the error is io.EOF then.
func (p *Peer) Next() (string, error) {
	p.deadline()
	return ReadFrame(p.r)
}

// WantEnd fails the test unless the connection is at its end.
func (p *Peer) WantEnd() {
	p.t.Helper()
	// A connection that is closed before all that it sent was read is reset: which it is, is a matter of timing.
	if f, err := p.Next(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) || f != "" {
		p.t.Fatalf("got %q and %v, want the end of the connection", f, err)
	}
}

// ReadFrame reads one value of RESP2 or RESP3 with all that is in it, and returns it as the bytes it is.
func ReadFrame(r *bufio.Reader) (string, error) {
	var b strings.Builder
	err := readFrame(r, &b)
	return b.String(), err
}

func readFrame(r *bufio.Reader, b *strings.Builder) error {
	line, err := r.ReadString('\n')
	b.WriteString(line)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(line[1:], "\r\n"))
	switch line[0] {
	case '+', '-', ':', ',', '#', '_', '(':
		return nil
	case '$', '=', '!':
		if err != nil || n < 0 {
			return err
		}
		body := make([]byte, n+2)
		got, err := io.ReadFull(r, body)
		b.Write(body[:got])
		return err
	case '%', '|':
		n *= 2
	case '*', '~', '>':
	default:
		return fmt.Errorf("no RESP: %q", line)
	}
	for ; n > 0 && err == nil; n-- {
		err = readFrame(r, b)
	}
	return err
}
