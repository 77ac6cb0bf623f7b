package conn_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
)

// TestCutAnywhere: wherever input is cut into two reads, the same commands are executed, once each and in order, and nothing is held
// when all are.
func TestCutAnywhere(t *testing.T) {
	var input []byte
	want := ""
	for _, size := range []int{0, 1, 40, 700} {
		text := strings.Repeat("r", size)
		input = append(append(input, cmd("ECHO", text)...), "\r\nGIVE 3\r\n"...)
		want += bulk(size) + bulk(3)
	}
	w := newWorld(t)
	for cut := range len(input) + 1 {
		o := w.connect()
		o.end.Send(input[:cut]...)
		w.settle()
		if got := o.Unexecuted(); got > cut {
			t.Fatalf("%d bytes are held of %d", got, cut)
		}
		o.end.Send(input[cut:]...)
		w.settle()
		if got := o.end.Take(); got != want {
			t.Fatalf("cut at %d of %d: got %q", cut, len(input), got)
		}
		if in, out := o.Memory(); in+out != 0 {
			t.Fatalf("cut at %d: %d and %d bytes are held", cut, in, out)
		}
		o.end.Close()
		w.settle()
	}
}

// TestCutEverywhere: likewise when each byte comes alone; and a command that is larger than what all read into has its own room.
func TestCutEverywhere(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	large := strings.Repeat("r", 200_000)
	for i, b := range cmd("ECHO", large) {
		o.end.Send(b)
		if i%997 == 0 || i < 100 {
			w.turn()
		}
	}
	for _, b := range cmd("ECHO", "r") {
		o.end.Send(b)
		w.turn()
	}
	w.settle()
	if got := o.end.Take(); got != bulk(len(large))+bulk(1) {
		t.Errorf("got %d bytes", len(got))
	}
}

// TestTooLarge: a command that is larger than the limit ends the connection, with an error behind what was answered before, though its
// end is not in sight.
func TestTooLarge(t *testing.T) {
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Input = 100 })
	for _, c := range []struct{ input, why string }{
		{"GIVE 1\r\n*2\r\n$4\r\nECHO\r\n$1000\r\n", "larger than the limit of 100 bytes"},
		{"GIVE 1\r\n" + strings.Repeat("x", 101), "larger than the limit of 100 bytes"},
		{"GIVE 1\r\n*2\r\nGIVE", "expected '$'"},
	} {
		o := w.connect()
		o.end.Send([]byte(c.input)...)
		w.settle()
		if got := o.end.Take(); !strings.HasPrefix(got, bulk(1)+"-") || !strings.Contains(got, c.why) || !o.end.Gone {
			t.Errorf("%q: got %q, ended %v", c.input, got, o.end.Gone)
		}
		if len(o.calls) != 2 || !strings.Contains(o.calls[0], c.why) || o.calls[1] != "closed" {
			t.Errorf("%q: the owner was told %q", c.input, o.calls)
		}
	}
}

// TestTooMuchInput: one whose user would hold too much ends, and nobody else of his.
func TestTooMuchInput(t *testing.T) {
	w := newWorld(t, func(l *account.Limits, _ *conn.Limits) { l[account.Buffers] = 100_000 })
	o, other := w.connect(), w.connect()
	o.end.Send([]byte("*2\r\n$4\r\nECHO\r\n$150000\r\n" + strings.Repeat("x", 90_000))...)
	w.settle()
	if got := o.end.Take(); !strings.HasPrefix(got, "-QUOTA ") || !o.end.Gone {
		t.Errorf("got %q", got)
	}
	other.end.Send(cmd("GIVE", "1")...)
	w.settle()
	if got := other.end.Take(); got != bulk(1) {
		t.Errorf("the other got %q", got)
	}
}

// TestAwait: commands wait for the answer to the one before them, and the owner is told when the peer will not take it; what the peer
// has sent before it closed its half is executed all the same.
func TestAwait(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	o.end.Send([]byte("GIVE 1\r\nWAIT\r\nGIVE 2\r\nGIVE 3\r\n")...)
	w.settle()
	if got := o.end.Take(); got != bulk(1) || !o.Waiting() {
		t.Errorf("got %q, waits %v", got, o.Waiting())
	}
	o.end.HalfClose()
	w.settle()
	if got := o.end.Take(); got != "" || !o.SendsNoMore() || !slices.Equal(o.calls, []string{"half-closed"}) || o.Dead() {
		t.Errorf("got %q, the owner was told %q, ended %v", got, o.calls, o.Dead())
	}
	o.GoOn()
	w.settle()
	if got := o.end.Take(); got != bulk(2)+bulk(3) || !o.end.Gone || !slices.Equal(o.calls, []string{"half-closed", "closed"}) {
		t.Errorf("got %q, the owner was told %q, ended %v", got, o.calls, o.end.Gone)
	}
}

// TestHangUp: a peer that is gone is answered nothing. What it had sent is executed, unless that waits for something.
func TestHangUp(t *testing.T) {
	w := newWorld(t)
	publisher, waits, other := w.connect(), w.connect(), w.connect()
	other.end.Send(cmd("FOLLOW")...)
	w.settle()
	publisher.end.Send(cmd("PUBLISH", "1")...)
	publisher.end.Close()
	waits.end.Send([]byte("WAIT\r\nPUBLISH 1\r\n")...)
	w.settle()
	waits.end.Close()
	w.settle()
	if !publisher.end.Gone || !waits.end.Gone || !slices.Contains(waits.calls, "closed") {
		t.Errorf("ended: %v and %v, the owner was told %q", publisher.end.Gone, waits.end.Gone, waits.calls)
	}
	if got := values(t, other.end.Take()); len(got) != 1 || w.seq != 1 {
		t.Errorf("%d messages came of %d", len(got), w.seq)
	}
}

// TestPutOff: commands that are executed later, for whichever reason, keep their order, and nothing is executed twice.
func TestPutOff(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	o.end.Send([]byte("GIVE 1\r\nLATER 3\r\nGIVE 2\r\nUNFINISHED 3\r\nGIVE 3\r\nWAIT\r\nGIVE 4\r\n")...)
	w.settle()
	if got := o.end.Take(); got != bulk(1)+bulk(2)+":0\r\n"+bulk(3) {
		t.Errorf("got %q", got)
	}
	if !slices.Equal(o.calls, []string{"later", "later", "later"}) {
		t.Errorf("it was executed %d times", len(o.calls))
	}
	o.GoOn()
	o.Park()
	w.settle()
	if got := o.end.Take(); got != "" || !o.OnHold() {
		t.Errorf("set aside, and got %q", got)
	}
	o.Unpark()
	w.settle()
	if got := o.end.Take(); got != bulk(4) {
		t.Errorf("got %q", got)
	}
}

// TestShares: one who has very much to do has his share of a turn, and another user who comes after him is answered in the same.
func TestShares(t *testing.T) {
	w := newWorld(t)
	w.slow()
	much, other := w.connect(), w.connectAs(uid+1)
	much.end.Send(slices.Repeat([]byte("GIVE 1\r\n"), 100)...)
	other.end.Send([]byte("GIVE 2\r\n")...)
	w.turn()
	if got := other.end.Take(); got != bulk(2) || much.end.Take() == strings.Repeat(bulk(1), 100) {
		t.Errorf("the other got %q", got)
	}
	w.settle()
	if much.Unexecuted() != 0 {
		t.Error("it is not answered to the end")
	}
}

// TestReadAhead: of one who has more to do than there is time for, no more is read than it can do next, however much its limit is. All
// that it has sent is executed in the end, also what it sent before it went.
func TestReadAhead(t *testing.T) {
	for _, closes := range []bool{false, true} {
		w := newWorld(t)
		w.slow()
		o, other := w.connect(), w.connect()
		other.end.Send(cmd("FOLLOW")...)
		w.settle()
		const n = 3000
		o.end.Send(slices.Repeat([]byte("PUBLISH 1"+strings.Repeat(" ", 100)+"\r\n"), n)...)
		if closes {
			o.end.Close()
		}
		for w.turn() {
			if held := o.Unexecuted(); held > 2*64<<10 {
				t.Fatalf("%d bytes are held", held)
			}
			other.end.Take()
		}
		if w.seq != n || o.Unexecuted() != 0 || o.end.Gone != closes {
			t.Errorf("%d commands are executed, %d bytes are held, ended %v", w.seq, o.Unexecuted(), o.end.Gone)
		}
	}
}

// slow has all that is done between two looks at the clock take longer than a user's share of a turn.
func (w *world) slow() {
	now := slice
	w.Now = func() time.Duration { now += 2 * slice; return now }
}

// TestReadEarly: who was read twice in succession is read without being asked for, as long as he is to be read at all.
func TestReadEarly(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	for range 2 {
		o.end.Send(cmd("GIVE", "1")...)
		if w.ReadEarly() {
			t.Error("read though it was not read before")
		}
		w.settle()
	}
	o.end.Send(cmd("GIVE", "1")...)
	if !w.ReadEarly() {
		t.Error("not read")
	}
	o.end.SetRoom(0)
	o.end.Send(cmd("GIVE", fmt.Sprint(100_000))...)
	w.settle()
	o.end.Send(cmd("GIVE", "1")...)
	if w.ReadEarly() {
		t.Error("read, though what it was answered is not read")
	}
	o.Kill(nil)
	if w.ReadEarly() {
		t.Error("read from one that has ended")
	}
}

// TestRights: a descriptor goes to the command that it came with, and to no other; one that it did not take is closed.
func TestRights(t *testing.T) {
	const fd = 1 << 20 // which is none
	w := newWorld(t)
	o := w.connect()
	o.end.SendFDs(cmd("FD"), fd)
	w.settle()
	o.end.SendFDs(cmd("GIVE", "1"), fd+1)
	w.settle()
	o.end.Send(cmd("FD")...)
	w.settle()
	if got := o.end.Take(); got != fmt.Sprintf(":%d\r\n", fd)+bulk(1)+":-1\r\n" || w.kernel.Discarded != 1 {
		t.Errorf("got %q, %d are closed", got, w.kernel.Discarded)
	}

	// With a part of the command.
	whole := cmd("FD")
	for cut := 1; cut < len(whole); cut++ {
		o.end.SendFDs(whole[:cut], fd+cut)
		w.settle()
		o.end.Send(whole[cut:]...)
		w.settle()
		if got := o.end.Take(); got != fmt.Sprintf(":%d\r\n", fd+cut) {
			t.Errorf("cut at %d: got %q", cut, got)
		}
	}

	// It waits for its command, and another that lacks one does not take it.
	o.end.Send(cmd("WAIT")...)
	o.end.Send(cmd("FD")...)
	w.settle()
	o.end.SendFDs(cmd("FD"), fd)
	w.settle()
	o.GoOn()
	w.settle()
	if got := o.end.Take(); got != fmt.Sprintf(":-1\r\n:%d\r\n", fd) {
		t.Errorf("got %q", got)
	}

	// Of more than may wait the rest is closed, and with those that do not come the connection ends.
	for _, c := range []struct {
		send func(*owner)
		want string
	}{
		{func(o *owner) { o.end.SendFDs([]byte("WAIT\r\nFD"), slices.Repeat([]int{fd}, 9)...) }, "-PROTO "},
		{func(o *owner) { o.end.SendLost([]byte("FD\r\n")) }, "-QUOTA "},
	} {
		o := w.connect()
		c.send(o)
		w.settle()
		if got := o.end.Take(); !strings.HasPrefix(got, c.want) || !o.end.Gone {
			t.Errorf("got %q, ended %v", got, o.end.Gone)
		}
	}
	if w.kernel.Discarded != 1+9 {
		t.Errorf("%d are closed", w.kernel.Discarded)
	}

	// A user whose descriptors cannot be closed any more loses his connections.
	w.kernel.Clogged = true
	o.end.SendFDs(cmd("GIVE", "1"), fd)
	w.settle()
	if w.Len() != 0 || !slices.Contains(o.calls, conn.ErrClogged.Error()) {
		t.Errorf("%d connections are left, the owner was told %q", w.Len(), o.calls)
	}
}

// TestSendRights: descriptors are sent behind all that was sent before, or not at all.
func TestSendRights(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	o.Send([]byte(bulk(10)))
	if !o.SendRights([]byte("+OK\r\n"), []int{7}) || o.end.Take() != bulk(10)+"+OK\r\n" || !slices.Equal(o.end.FDs, []int{7}) {
		t.Error("they did not come")
	}
	o.end.SetRoom(3) // of what they come with a part
	if !o.SendRights([]byte("+OK\r\n"), []int{8}) || len(o.end.FDs) != 2 {
		t.Error("they did not come with a part")
	}
	o.Send([]byte(bulk(10)))
	o.end.SetRoom(5)
	w.settle()
	if o.SendRights([]byte("+NO\r\n"), []int{9}) || len(o.end.FDs) != 2 {
		t.Error("they overtook what came before")
	}
	o.end.SetRoom(-1)
	w.settle()
	if got := o.end.Take(); got != "+OK\r\n"+bulk(10) {
		t.Errorf("got %q", got)
	}
	o.Kill(nil)
	if o.SendRights([]byte("+NO\r\n"), []int{9}) {
		t.Error("sent to one that has ended")
	}
}

// TestBurial: what has much to give back is called until that is all, many end at once, and nothing of them is left. Only one of them is
// buried if there is no time for more.
func TestBurial(t *testing.T) {
	w := newWorld(t)
	w.slow()
	var all []*owner
	for i := range 100 {
		o := w.connect()
		o.end.Send(cmd("ECHO", "x")[:10]...) // something is held
		o.burial = 1 + i%3
		all = append(all, o)
	}
	w.settle()
	for _, o := range all {
		o.Queue()
		o.Kill(nil)
	}
	toDo := func() (n int) {
		for _, o := range all {
			n += o.burial
		}
		return n
	}
	before := toDo()
	w.BeginTurn()
	if w.Bury(); before-toDo() > 2 { // to look at the clock for the second begins its time
		t.Errorf("%d were asked at once to give something back", before-toDo())
	}
	w.settle()
	for i, o := range all {
		if !o.end.Gone || !slices.Equal(o.calls, []string{"closed"}) || o.FD() != -1 {
			t.Errorf("connection %d: closed %v, the owner was told %q", i, o.end.Gone, o.calls)
		}
	}
	if w.Len() != 0 || w.users.Len() != 0 {
		t.Errorf("%d are left, %d users", w.Len(), w.users.Len())
	}
}

// TestLast: when there may be no later turn, all that was sent is executed, until the time is over.
func TestLast(t *testing.T) {
	for _, over := range []bool{false, true} {
		w := newWorld(t)
		w.slow()
		o := w.connect()
		o.end.Send(slices.Repeat([]byte("GIVE 1\r\n"), 100)...)
		w.Last(func() bool { return over })
		o.ExecuteRest()
		w.WrapUp()
		if all := o.end.Take() == strings.Repeat(bulk(1), 100); all == over {
			t.Errorf("over %v, all are answered: %v", over, all)
		}
	}
}
