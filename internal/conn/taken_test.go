package conn_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
)

// TestAwaitTaken has the owner be called once, when the peer has read all that it was to be sent: not when it is written, and not before
// it is.
func TestAwaitTaken(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	is := func(when string, want ...string) {
		t.Helper()
		w.settle()
		if !slices.Equal(o.calls, want) {
			t.Fatalf("%s: %q", when, o.calls)
		}
		o.calls = nil
	}
	o.Send([]byte(bulk(10)))
	if o.IsWritten() || o.HasTaken() {
		t.Error("it is written before the turn is over")
	}
	o.AwaitTaken()
	is("written")
	if !o.IsWritten() || o.HasTaken() {
		t.Error("it is not written, or read")
	}
	o.end.Take()
	is("read", "taken")
	if !o.HasTaken() {
		t.Error("it is not read")
	}
	o.Send([]byte(bulk(10)))
	is("not awaited")
	o.end.Take()
	is("read, and not awaited")
	o.AwaitTaken()
	is("there is nothing", "taken")

	// The socket is full.
	o.end.SetRoom(5)
	o.Send([]byte(bulk(10)))
	o.AwaitTaken()
	is("written in part")
	o.end.Take()
	is("read in part")
	if o.IsWritten() {
		t.Error("it is written")
	}
	o.end.SetRoom(-1)
	is("written")
	o.end.Take()
	is("read", "taken")
}

// TestTakenBesideOthers: what is sent behind what is awaited need not be read.
func TestTakenBesideOthers(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	o.Send([]byte(bulk(10)))
	w.settle()
	o.AwaitTaken()
	w.settle()
	for range 100 {
		o.Send([]byte(bulk(100)))
		w.settle()
	}
	if len(o.calls) > 0 {
		t.Fatal("it has read nothing")
	}
	o.end.Got = o.end.Got[len(o.end.Got)-4000:] // it has read the first of them
	o.end.SetRoom(-1)
	w.settle()
	if !slices.Equal(o.calls, []string{"taken"}) {
		t.Errorf("it has read what was awaited: %q", o.calls)
	}
}

// TestUnsent counts what was not written as a whole, however the connection ends.
func TestUnsent(t *testing.T) {
	each := len(counted)
	for _, test := range []struct {
		name               string
		written, want, own int
	}{
		{"nothing", 0, 4, 0},
		{"less than one", 1, 4, 0},
		{"all but a byte of one", each - 1, 4, 0},
		{"one", each, 3, 0},
		{"two and a half", 2*each + each/2, 2, 0},
		{"all", 4 * each, 0, 0},
		{"two, with others between them", 2*(each+15) + 1, 2, 15},
	} {
		w := newWorld(t)
		o := w.connect()
		o.end.SetRoom(test.written)
		for range 4 {
			o.SendCounted([]byte(counted))
			if test.own > 0 {
				o.Send([]byte(bulk(test.own - len("$9\r\n\r\n"))))
			}
		}
		if n := o.Unsent(); n != 4 {
			t.Errorf("%s: %d are not sent before the turn is over", test.name, n)
		}
		w.settle()
		if n := o.Unsent(); n != test.want {
			t.Errorf("%s: %d are not sent, want %d", test.name, n, test.want)
		}
		o.Kill(nil)
		if n := o.Unsent(); n != test.want {
			t.Errorf("%s: %d were never sent, want %d", test.name, n, test.want)
		}
		w.settle()
	}
}

// TestUnsentOfTooFarBehind: who is ended as he is too far behind gives his backlog up at once, and it is known all the same what was in it.
func TestUnsentOfTooFarBehind(t *testing.T) {
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = 1000 })
	o := w.connect()
	o.strict = true
	o.end.SetRoom(len(counted) + 1)
	o.SendCounted([]byte(counted + counted + counted))
	w.settle()
	if o.EnqueueStrict([]byte(strings.Repeat(counted, 100)), nil, 1) || !o.Dead() {
		t.Fatal("it is not ended")
	}
	if n := o.Unsent(); n != 2 {
		t.Errorf("%d were not sent, want 2", n)
	}
}

// TestUnsentLooksForWhatThereMayBe: nothing is looked through for values that are counted where none was sent since all was written.
func TestUnsentLooksForWhatThereMayBe(t *testing.T) {
	w := newWorld(t)
	looked := 0
	w.Pushes.Counts = func(v []byte) bool { looked++; return counts(v) }
	o := w.connect()
	o.SendCounted([]byte(counted))
	w.settle()
	o.end.SetRoom(0)
	o.Send([]byte(bulk(100) + bulk(100)))
	w.settle()
	if n := o.Unsent(); n != 0 || looked > 0 {
		t.Errorf("%d are not sent, and %d values were looked at", n, looked)
	}
	o.SendCounted([]byte(counted))
	w.settle()
	if n := o.Unsent(); n != 1 {
		t.Errorf("%d are not sent, want 1", n)
	}
}
