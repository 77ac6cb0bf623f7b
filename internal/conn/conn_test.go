package conn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/conn/conntest"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A world is a set of connections whose owners do little, and are driven without sockets.
type world struct {
	*conn.Set
	t      *testing.T
	kernel *conntest.Kernel
	users  account.Book
	subs   []*owner // to the one stream that there is
	seq    uint64
}

// An owner is one whose commands are about its connection. It follows the stream of messages if it is told to, and all of them are of
// one subscription, "a".
type owner struct {
	conn.Conn
	w      *world
	end    *conntest.End
	strict bool // it cannot be told of losses
	calls  []string
	burial int // how often it is called to be closed before it has given back everything
	midway int // how often it goes on with a command

	dropped int // messages that it was told of

	proto2 bool // the peer speaks RESP2 now
}

const uid = 1000

// slice is a user's share of a turn.
const slice = time.Millisecond / 2

func newWorld(t *testing.T, change ...func(*account.Limits, *conn.Limits)) *world {
	t.Helper()
	w := &world{t: t, kernel: conntest.New()}
	limits := conn.Limits{Input: 1 << 20, Output: 8 << 20, Words: 100}
	w.users = account.Book{Slice: slice, Verify: true, Limits: account.Limits{
		account.Connections: 1000, account.Buffers: 1 << 30, account.Input: 1 << 30, account.Output: 1 << 30,
	}}
	for _, f := range change {
		f(&w.users.Limits, &limits)
	}
	w.Set = conn.New(w.kernel, &w.users, conn.Pushes{Loss: loss, AppendLoss: appendLoss, Counts: counts})
	w.SetLimits(limits)
	t.Cleanup(func() {
		w.EndAll()
		w.settle()
		if n := w.users.Len(); n != 0 && !t.Failed() {
			t.Errorf("%d users are charged for something that has ended", n)
		}
	})
	return w
}

// connect adds a connection.
func (w *world) connect() *owner {
	w.t.Helper()
	return w.connectAs(uid)
}

// connectAs is connect for a user's.
func (w *world) connectAs(uid uint32) *owner {
	w.t.Helper()
	o := &owner{w: w, end: w.kernel.Connect()}
	if err := w.Add(&o.Conn, o, o.end.FD, uid); err != nil {
		w.t.Fatal(err)
	}
	return o
}

// turn makes one turn, and reports whether there was anything to do.
func (w *world) turn() bool {
	w.t.Helper()
	w.BeginTurn()
	busy := w.kernel.Tell()
	w.EndEvents()
	w.WrapUp()
	if w.Waiting() {
		busy = true
		w.BeginRest()
		w.Serve()
		w.WrapUp()
	}
	w.EndTurn()
	w.users.EndTurn()
	w.check()
	return busy
}

// settle makes turns until there is nothing to do.
func (w *world) settle() {
	w.t.Helper()
	for i := 0; w.turn(); i++ {
		if i == 100_000 {
			w.t.Fatal("there is ever more to do")
		}
	}
}

func (w *world) check() {
	w.t.Helper()
	for _, o := range w.subs { // who asks how much waits changes nothing
		o.CountWaiting()
	}
	found := account.Count{}
	w.Check(found)
	if err := w.users.Mismatch(found); err != nil {
		w.t.Fatal(err)
	}
}

// A message is a push of two elements: its number, and some bytes.
func appendMessage(b []byte, p wire.Proto, seq uint64, size int) []byte {
	b = p.AppendPush(b, 3)
	b = wire.AppendBulk(b, "message")
	b = wire.AppendInt(b, int64(seq))
	return wire.AppendBulk(b, payload(seq, size))
}

// payload is that of a message: others have other bytes.
func payload(seq uint64, size int) string { return strings.Repeat(string(rune('a'+seq%26)), size) }

func appendLoss(b []byte, p wire.Proto, of string, n int64) []byte {
	b = p.AppendPush(b, 3)
	b = wire.AppendBulk(b, "lost")
	b = wire.AppendInt(b, n)
	return wire.AppendBulk(b, of)
}

func loss(v []byte) (of []byte, n int64, told bool) {
	if rest, ok := bytes.CutPrefix(v, []byte(">3\r\n$4\r\nlost\r\n")); ok {
		count, _ := conn.Head(rest)
		return []byte("a"), int64(count), true
	}
	if bytes.HasPrefix(v, []byte(">3\r\n$7\r\nmessage\r\n")) {
		return []byte("a"), 1, false
	}
	return nil, 0, false
}

// counts are the values that begin so.
func counts(v []byte) bool { return bytes.HasPrefix(v, []byte("$9\r\ncounted")) }

const counted = "$9\r\ncounted--\r\n"

// publish gives a message to all that follow, as a server does.
func (w *world) publish(size int) {
	w.seq++
	if steady := w.Steady(0); steady != nil && steady.Buffer(wire.RESP3).Len() > 0 {
		buffer := steady.Buffer(wire.RESP3)
		buffer.Extend(appendMessage(buffer.Bytes(size+64), wire.RESP3, w.seq, size))
		w.Relieve()
		return
	}
	stream := w.Stream(0)
	buffer := stream.Buffer(wire.RESP3)
	from := buffer.Len()
	stream.Steady = true
	for _, o := range w.subs {
		if !o.IsReceiving() {
			stream.Steady = false
			if !o.MayReceive() {
				continue
			}
		}
		if buffer.Len() == from {
			buffer.Extend(appendMessage(buffer.Bytes(size+64), wire.RESP3, w.seq, size))
		}
		if !o.Blocked() {
			o.Follow(buffer, from)
			continue
		}
		stream.Steady = false
		switch {
		case o.IsFull(size, w.seq):
			o.Lose("a")
		case o.strict:
			o.EnqueueStrict(buffer.From(from), buffer, w.seq)
		default:
			o.Enqueue(buffer.From(from), buffer, w.seq, "a")
		}
	}
	w.Relieve()
}

func (o *owner) Execute(words [][]byte) conn.Outcome {
	number := 0
	if len(words) > 1 {
		number, _ = strconv.Atoi(string(words[1]))
	}
	switch word := string(words[0]); word {
	case "ECHO":
		o.Send(wire.AppendBulk(nil, string(words[1])))
	case "GIVE": // so many bytes
		o.Send(wire.AppendBulk(nil, strings.Repeat("r", number)))
	case "FOLLOW":
		o.w.Unsettle(0)
		o.w.subs = append(o.w.subs, o)
	case "PUBLISH": // a message of so many bytes
		o.w.publish(number)
	case "WAIT":
		o.Await()
	case "SLOW":
		o.User().Spend(time.Hour)
		return conn.Slow
	case "LATER":
		if o.calls = append(o.calls, "later"); len(o.calls) < number {
			o.Slice()
			return conn.Later
		}
	case "UNFINISHED": // goes on so many times
		o.midway = number
		o.SetUnfinished(true)
		o.Slice()
	case "FD":
		fd := o.TakeFD()
		o.Send(wire.AppendInt(nil, int64(fd)))
	case "QUIT":
		o.Finish()
	default:
		o.Send(wire.AppendError(nil, wire.CodeErr, "no such command"))
	}
	return conn.Done
}

func (o *owner) Continue() bool {
	if o.midway > 0 {
		o.midway--
		o.Slice()
		return false
	}
	o.SetUnfinished(false)
	o.Send(wire.AppendInt(nil, 0))
	return true
}

func (o *owner) HalfClosed()      { o.calls = append(o.calls, "half-closed") }
func (o *owner) Resume()          {}
func (o *owner) Failed(why error) { o.calls = append(o.calls, why.Error()) }
func (o *owner) Proto() wire.Proto {
	if o.proto2 {
		return wire.RESP2
	}
	return wire.RESP3
}
func (o *owner) Dropped(n int) { o.dropped += n }
func (o *owner) HasRoom()      { o.calls = append(o.calls, "room") }
func (o *owner) Taken()        { o.calls = append(o.calls, "taken") }

func (o *owner) Receives() (lossy, strict bool) {
	if !slices.Contains(o.w.subs, o) {
		return false, false
	}
	return !o.strict, o.strict
}

func (o *owner) Closed() bool {
	if o.burial--; o.burial >= 0 {
		return false
	}
	o.calls = append(o.calls, "closed")
	o.w.Unsettle(0)
	o.w.subs = slices.DeleteFunc(o.w.subs, func(s *owner) bool { return s == o })
	return true
}

// cmd is what a client sends for a command.
func cmd(words ...string) []byte { return wire.AppendCommand(nil, words...) }

// values are what a client has got, which must be whole values.
func values(t *testing.T, got string) (all []wire.Value) {
	t.Helper()
	d := wire.NewDecoder(strings.NewReader(got), wire.DefaultLimits)
	for {
		v, err := d.Decode()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("got %d bytes, of which %d values can be read: %v", len(got), len(all), err)
		}
		all = append(all, v)
	}
}

func bulk(n int) string { return fmt.Sprintf("$%d\r\n%s\r\n", n, strings.Repeat("r", n)) }
