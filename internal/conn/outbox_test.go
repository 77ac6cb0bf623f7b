package conn_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
)

// mixed has a connection be sent, in one turn, replies and messages in ranges of every kind: small ones, which are copied, and large
// ones, which are pieces of one vectored write.
func mixed(w *world, o *owner) {
	o.Send([]byte(bulk(10)))
	w.publish(1500)
	w.publish(20)
	o.Send([]byte(bulk(300)))
	w.publish(30)
	o.Send([]byte(bulk(1)))
	w.publish(1200)
	o.Send([]byte(bulk(5)))
	w.publish(1100)
	w.publish(0)
}

// TestBlockedAnywhere: at whatever byte a socket is full, and however little it takes from then on, the peer gets what it was sent,
// nothing doubled, torn or lost; and what comes meanwhile is behind it.
func TestBlockedAnywhere(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	want, total := "", 1
	w := newWorld(t)
	for room := -1; room <= total; room++ {
		const near = 8
		if room > near && room < total-near && strings.Trim(want[room-near:room+near], want[room:room+1]) == "" {
			continue // within a long payload one byte is as good as another
		}
		w.seq = 100 // so that all have the same
		o := w.connect()
		o.end.Send(cmd("FOLLOW")...)
		w.settle()
		o.end.SetRoom(room)
		mixed(w, o)
		w.turn()
		if room < 0 {
			total = len(o.end.Got)
		} else if room < total && (!o.Blocked() || len(o.end.Got) != room) {
			t.Fatalf("of %d bytes %d are written, blocked %v", room, len(o.end.Got), o.Blocked())
		}
		w.publish(40)
		o.Send([]byte(bulk(7)))
		w.publish(1300)
		w.turn()
		for o.Blocked() {
			o.end.SetRoom(1 + random.IntN(4000))
			w.turn()
		}
		o.end.SetRoom(-1)
		w.settle()
		got := o.end.Take()
		if room < 0 {
			values(t, got)
			want = got
		}
		if got != want {
			t.Fatalf("blocked at byte %d: got %d bytes, want %d\n%q", room, len(got), len(want), got)
		}
		if in, out := o.Memory(); in+out != 0 {
			t.Fatalf("blocked at byte %d: %d and %d bytes are held", room, in, out)
		}
		o.Kill(nil)
		w.settle()
	}
}

// TestBlockedInOneRange: likewise where all that is sent is one range, which is written from the buffer that it shares with others.
func TestBlockedInOneRange(t *testing.T) {
	for room := 0; room < 300; room++ {
		w := newWorld(t)
		o, other := w.connect(), w.connect()
		for _, c := range []*owner{o, other} {
			c.end.Send(cmd("FOLLOW")...)
		}
		w.settle()
		o.end.SetRoom(room)
		for range 6 {
			w.publish(20)
		}
		w.turn()
		w.publish(20)
		w.turn()
		o.end.SetRoom(-1)
		w.settle()
		if got, want := o.end.Take(), other.end.Take(); got != want || len(values(t, want)) != 7 {
			t.Fatalf("blocked at byte %d: got %q, and the other %q", room, got, want)
		}
	}
}

// TestBlockedInReplies: likewise where all that is sent is bytes of its own.
func TestBlockedInReplies(t *testing.T) {
	want := bulk(10) + bulk(20) + bulk(1)
	for room := range len(want) + 1 {
		w := newWorld(t)
		o := w.connect()
		o.end.SetRoom(room)
		o.end.Send([]byte("GIVE 10\r\nGIVE 20\r\nGIVE 1\r\n")...)
		w.settle()
		if o.Blocked() != (room < len(want)) {
			t.Errorf("blocked at byte %d: %v", room, o.Blocked())
		}
		o.end.SetRoom(1)
		w.settle()
		o.end.SetRoom(-1)
		w.settle()
		if got := o.end.Take(); got != want {
			t.Errorf("blocked at byte %d: got %q", room, got)
		}
	}
}

// TestDropsTellAnywhere: a subscriber that is blocked at whatever byte, and for whom more comes than may wait, misses the oldest
// messages, is told how many where they would have been, and gets all replies, in their place. What is written in part stays.
func TestDropsTellAnywhere(t *testing.T) {
	const limit = 4000
	whole := 0
	for room := 0; room <= max(whole, 1); room += 13 {
		w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
		o := w.connect()
		o.end.Send(cmd("FOLLOW")...)
		w.settle()
		o.end.SetRoom(room)
		for i := range 10 {
			w.publish(100)
			if i == 4 {
				o.Send([]byte("+" + fmt.Sprint(w.seq) + "\r\n"))
			}
		}
		whole = 10 * (100 + len(">3\r\n$7\r\nmessage\r\n:1\r\n$100\r\n\r\n"))
		w.turn()
		for i := range 80 {
			w.publish(100)
			if i%20 == 19 && i < 60 {
				o.Send([]byte("+" + fmt.Sprint(w.seq) + "\r\n"))
			}
			w.turn()
			if o.Backlog() > limit+len("+250\r\n") { // replies are not dropped
				t.Fatalf("%d bytes wait, over %d", o.Backlog(), limit)
			}
		}
		o.end.SetRoom(-1)
		w.settle()
		lost := checkSequence(t, o.end.Take(), int64(w.seq))
		if lost == 0 {
			t.Fatalf("blocked at byte %d: nothing is lost, so this tests nothing", room)
		}
	}
}

// checkSequence checks that what a client got are the messages up to a number, in order, or the word of what is missing at its place; a
// reply says how many there were before it. It returns how many are missing.
func checkSequence(t *testing.T, got string, last int64) (lost int64) {
	t.Helper()
	seen := int64(0)
	for _, v := range values(t, got) {
		switch {
		case len(v.Elems) == 0:
			if v.Str != fmt.Sprint(seen) {
				t.Fatalf("the reply behind message %s comes behind %d", v.Str, seen)
			}
		case v.Elems[0].Str == "lost":
			lost += v.Elems[1].Int
			seen += v.Elems[1].Int
		case v.Elems[1].Int != seen+1:
			t.Fatalf("message %d comes behind %d", v.Elems[1].Int, seen)
		case v.Elems[2].Str != payload(uint64(seen+1), len(v.Elems[2].Str)):
			t.Fatalf("message %d has the bytes of another: %.20q", seen+1, v.Elems[2].Str)
		default:
			seen++
		}
	}
	if seen != last {
		t.Fatalf("%d messages came or are told to be lost, of %d", seen, last)
	}
	return lost
}

// TestSharedByMany: large messages to several whose sockets are full at whatever places, of whom some lose them and some end, are
// there once for all of them; each gets what it was sent, also while the memory of what all have got carries what comes later.
func TestSharedByMany(t *testing.T) {
	const limit = 300_000
	sizes, lost, ended := []int{0, 30, 700, 9000, 17_000, 40_000, 90_000}, int64(0), 0
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
		var all []*owner
		for range 5 {
			o := w.connect()
			o.end.Send(cmd("FOLLOW")...)
			all = append(all, o)
		}
		w.settle()
		for range 150 {
			for range 1 + random.IntN(3)*random.IntN(2) {
				w.publish(sizes[random.IntN(len(sizes))])
			}
			o := all[random.IntN(len(all))]
			switch random.IntN(12) {
			case 0:
				o.end.SetRoom(-1)
			case 1, 2, 3, 4:
				o.end.SetRoom(random.IntN(60_000))
			case 5:
				o.Send(fmt.Appendf(nil, "+%d\r\n", w.seq))
			case 6:
				if len(all) > 2 && random.IntN(5) == 0 {
					o.Kill(nil)
					all = slices.DeleteFunc(all, func(x *owner) bool { return x == o })
					ended++
				}
			}
			w.turn()
		}
		for _, o := range all {
			o.end.SetRoom(-1)
		}
		w.settle()
		for _, o := range all {
			lost += checkSequence(t, o.end.Take(), int64(w.seq))
		}
	}
	if lost == 0 || ended == 0 {
		t.Errorf("%d messages are lost and %d connections have ended, so this tests little", lost, ended)
	}
}

// TestSharedIsThereOnce: what many keep of one large message, also of one that each has got in part, takes memory once, and each of
// them is charged for it.
func TestSharedIsThereOnce(t *testing.T) {
	const size, n = 1 << 20, 200
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = size + size/2 })
	for i := range n {
		o := w.connect()
		o.end.Send(cmd("FOLLOW")...)
		w.settle()
		o.end.SetRoom(i)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3 { // the first stays, and the others are lost
		w.publish(size)
		w.settle()
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 20*size {
		t.Errorf("%d bytes are allocated for %d who do not read a message of %d", took, n, size)
	}
	if used := w.users.Of(uid).Used(account.Output); used < n*size {
		t.Errorf("%d bytes are charged", used)
	}
}

// TestDropsLittle: what is dropped for a message is little more than its own size, however long the backlog is: it takes time, in
// which everybody waits.
func TestDropsLittle(t *testing.T) {
	const limit, size, messages = 1 << 20, 4 << 10, 600
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = limit })
	o := w.connect()
	o.end.Send(cmd("FOLLOW")...)
	w.settle()
	o.end.SetRoom(0)
	most, before := 0, 0
	for range messages {
		w.publish(size)
		w.turn()
		most, before = max(most, before-o.Backlog()), o.Backlog()
	}
	if most == 0 || most > 2*64<<10 || o.Backlog() < limit-2*64<<10 {
		t.Errorf("%d bytes are dropped for %d, and %d are left", most, size, o.Backlog())
	}
	o.end.SetRoom(-1)
	w.settle()
	if checkSequence(t, o.end.Take(), messages) == 0 {
		t.Error("nothing is lost")
	}
}

// TestStrictSubscriberEnds: one who cannot be told that it misses something is ended when it would; its user's others go on.
func TestStrictSubscriberEnds(t *testing.T) {
	w := newWorld(t, func(_ *account.Limits, l *conn.Limits) { l.Output = 4000 })
	strict, lossy := w.connect(), w.connect()
	strict.strict = true
	for _, o := range []*owner{strict, lossy} {
		o.end.Send(cmd("FOLLOW")...)
		w.settle()
		o.end.SetRoom(100)
	}
	for range 50 {
		w.publish(200)
		w.turn()
	}
	lossy.end.SetRoom(-1)
	w.settle()
	checkSequence(t, lossy.end.Take(), int64(w.seq))
	if !strict.end.Gone || !slices.Contains(strict.calls, conn.ErrTooFarBehind.Error()) || len(strict.end.Got) != 100 {
		t.Errorf("ended %v, the owner was told %q", strict.end.Gone, strict.calls)
	}
}

// TestUserOfManyWhoDoNotRead: what all connections of a user hold together is bounded, also if none of them is over its own limit.
func TestUserOfManyWhoDoNotRead(t *testing.T) {
	w := newWorld(t, func(l *account.Limits, _ *conn.Limits) { l[account.Buffers], l[account.Output] = 100_000, 50_000 })
	var all []*owner
	for range 10 {
		o := w.connect()
		o.end.Send(cmd("FOLLOW")...)
		w.settle()
		o.end.SetRoom(10)
		all = append(all, o)
	}
	for range 50 {
		w.publish(3000)
		w.turn()
		if used := w.users.Of(uid).Used(account.Output); used > 50_000+4000 {
			t.Fatalf("%d bytes wait for this user", used)
		}
	}
	for _, o := range all {
		o.end.SetRoom(-1)
	}
	w.settle()
	for i, o := range all {
		if o.end.Gone {
			t.Errorf("connection %d is ended: %q", i, o.calls)
			continue
		}
		checkSequence(t, o.end.Take(), int64(w.seq))
	}

	// Replies cannot be dropped.
	for range 4 {
		o := w.connect()
		o.end.SetRoom(0)
		o.end.Send(cmd("GIVE", "40000")...)
		all = append(all, o)
	}
	w.settle()
	if ended := slices.IndexFunc(all, func(o *owner) bool { return slices.Contains(o.calls, conn.ErrDoesNotRead.Error()) }); ended < 0 {
		t.Error("nobody is ended")
	}
}

// TestLate: of more who are to be written to than a turn has time for the others are late, and get what they were to be sent and what
// comes meanwhile, in order.
func TestLate(t *testing.T) {
	w := newWorld(t)
	var all []*owner
	for range 70 {
		o := w.connect()
		o.end.Send(cmd("FOLLOW")...)
		all = append(all, o)
	}
	w.settle()
	w.slow()
	w.publish(10)
	w.publish(2000)
	w.BeginTurn()
	w.FlushAll()
	if w.Late() < 20 {
		t.Fatalf("%d are late", w.Late())
	}
	w.publish(20)
	for _, o := range all {
		o.Send([]byte("+3\r\n"))
	}
	w.settle()
	if w.Late() != 0 {
		t.Errorf("%d are late still", w.Late())
	}
	for i, o := range all {
		if lost := checkSequence(t, o.end.Take(), 3); lost != 0 {
			t.Errorf("connection %d has lost %d", i, lost)
		}
	}
}

// TestLateForWhatIsCopied: when much was copied of what sockets do not take, the other connections are late, however little time that
// has taken, and get it nonetheless.
func TestLateForWhatIsCopied(t *testing.T) {
	const size, n = 15 << 10, 40
	w := newWorld(t)
	w.Now = func() time.Duration { return 0 }
	var all []*owner
	for range n {
		o := w.connect()
		o.end.Send(cmd("FOLLOW")...)
		all = append(all, o)
	}
	w.settle()
	for _, o := range all {
		o.end.Take()
		o.end.SetRoom(10)
	}
	w.publish(size)
	w.BeginTurn()
	w.FlushAll()
	blocked := 0
	for _, o := range all {
		if o.Blocked() {
			blocked++
		}
	}
	if blocked != 256<<10/size+1 || w.Late() != n-blocked {
		t.Errorf("%d have a backlog, and %d are late", blocked, w.Late())
	}
	for _, o := range all {
		o.end.SetRoom(-1)
	}
	w.settle()
	for i, o := range all {
		if got := len(o.end.Take()); got < size || w.Late() != 0 {
			t.Errorf("connection %d got %d bytes; %d are late still", i, got, w.Late())
		}
	}
}

// TestMapped: memory that is sent without a copy comes behind what was sent before it, and before what comes after, wherever the socket
// is full.
func TestMapped(t *testing.T) {
	const size = 300_000
	for i, room := range []int{-1, 0, 1, 65_535, 65_536, 65_537, size - 1, size, -1, 0, 1, 65_536, size - 1, size} {
		var fds []int // beside it, the second time
		if i >= 8 {
			fds = []int{7}
		}
		w := newWorld(t)
		o := w.connect()
		mapping, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			t.Fatal(err)
		}
		want := bulk(4)
		mapped := fmt.Sprintf("$%d\r\n%s\r\n", size-11, strings.Repeat("x", size-11))[:size]
		copy(mapping, mapped)
		o.Send([]byte(want))
		o.Keep(size)
		if room >= 0 {
			w.turn()
		}
		o.end.SetRoom(room)
		if fds != nil && room == 0 {
			if o.SendMapped(mapping, 0, size, fds) {
				t.Fatal("descriptors are taken by a socket that is full")
			}
			fds = nil
		}
		if !o.SendMapped(mapping, 0, size, fds) {
			t.Fatal("it was not taken")
		}
		o.Keep(0)
		o.Send([]byte(bulk(5)))
		w.turn()
		if !o.Blocked() != (room < 0) {
			t.Errorf("room for %d: blocked %v", room, o.Blocked())
		}
		if o.Blocked() && o.Unread() != size+len(bulk(5))-room {
			t.Errorf("room for %d: %d bytes are left", room, o.Unread())
		}
		if o.Blocked() && o.SendMapped(mapping, 0, 1, nil) {
			t.Error("a second one was taken")
		}
		for o.Blocked() {
			o.end.SetRoom(70_001)
			w.turn()
		}
		o.end.SetRoom(-1)
		w.settle()
		if got := o.end.Take(); got != want+mapped+bulk(5) {
			t.Errorf("room for %d: got %d bytes", room, len(got))
		}
		if !slices.Equal(o.end.FDs, fds) {
			t.Errorf("room for %d: got the descriptors %v", room, o.end.FDs)
		}
		if in, out := o.Memory(); in+out != 0 {
			t.Errorf("room for %d: %d and %d bytes are held", room, in, out)
		}
	}
}

// TestHeldUp: an owner that waits for the socket is called when it has taken all.
func TestHeldUp(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	if o.HeldUp() {
		t.Error("held up by nothing")
	}
	o.end.SetRoom(3)
	o.Send([]byte(bulk(10)))
	if !o.HeldUp() {
		t.Error("not held up")
	}
	w.settle()
	o.end.SetRoom(-1)
	w.turn()
	if got := o.end.Take(); got != bulk(10) || o.Blocked() {
		t.Errorf("got %q", got)
	}
}

// TestRepliesPause: the commands of one who does not read its replies wait, what is held for it is little, and all are answered in the
// end.
func TestRepliesPause(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	o.end.SetRoom(1000)
	o.end.Send(slices.Repeat(cmd("GIVE", "1000"), 5000)...)
	w.settle()
	if in, out := o.Memory(); in > 200_000 || out > 2_000_000 {
		t.Errorf("%d and %d bytes are held", in, out)
	}
	o.end.SetRoom(-1)
	w.settle()
	if got := o.end.Take(); got != strings.Repeat(bulk(1000), 5000) {
		t.Errorf("got %d bytes", len(got))
	}
}

// TestFinish: one that is ended when it has been sent what is its is not read any more, and is closed only then.
func TestFinish(t *testing.T) {
	w := newWorld(t)
	o := w.connect()
	o.end.SetRoom(5)
	o.end.Send([]byte("GIVE 10\r\nQUIT\r\nGIVE 1\r\n")...)
	w.settle()
	if o.end.Gone || !o.Ending() {
		t.Error("it is closed before it has what is its")
	}
	o.end.SetRoom(-1)
	w.settle()
	if got := o.end.Take(); got != bulk(10) || !o.end.Gone {
		t.Errorf("got %q, ended %v", got, o.end.Gone)
	}
}
