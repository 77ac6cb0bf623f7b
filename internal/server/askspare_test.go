package server

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"weak"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// wordsOf are those of a command.
func wordsOf(words ...string) (all [][]byte) {
	for _, w := range words {
		all = append(all, []byte(w))
	}
	return all
}

// TestRequestTakesNoMemory: a request and its answer leave no garbage, from the commands to the sockets, whatever is asked for besides.
func TestRequestTakesNoMemory(t *testing.T) {
	for _, c := range []struct {
		options string
		most    float64 // times that memory is taken
	}{
		{"", 0},
		{"TIMEOUT 60000", 0},
		{"timeout 60000 wait 1000 Repeatable", 1}, // for the payload, which may be needed later
	} {
		t.Run(c.options, func(t *testing.T) {
			m := newManual(t, 1, func(s *Setup, _ *Options) { s.Verify = false })
			asker, responder := m.connect(false), m.connect(false)
			responder.cmd("HELLO", "3")
			responder.cmd("BUS.SERVE", "calc/+")
			responder.cmd("CLIENT", "REPLY", "OFF")
			m.settle()
			ask := append(wordsOf("BUS.REQ", "calc/sum", "2 3"), wordsOf(strings.Fields(c.options)...)...)
			reply := wordsOf("BUS.REPLY", "", "5")
			sender, answerer := m.of(asker), m.of(responder)
			id, buf := int64(0), make([]byte, 1<<10)
			got := ""
			round := func() {
				m.execute(sender, ask)
				m.turn(nil)
				id++
				reply[1] = strconv.AppendInt(reply[1][:0], id, 10)
				m.execute(answerer, reply)
				m.turn(nil)
				if n, err := unix.Read(responder.fd, buf); err != nil || n == 0 {
					t.Fatal("not asked: ", n, err)
				}
				n, err := unix.Read(asker.fd, buf)
				if err != nil {
					t.Fatal("not answered: ", err)
				}
				if string(buf[:n]) != "$1\r\n5\r\n" {
					got = string(buf[:n])
				}
			}
			round()
			if n := testing.AllocsPerRun(1000, round); n > c.most || got != "" {
				t.Errorf("a request allocates %v times, or is answered %q", n, got)
			}
		})
	}
}

// TestOptionsTakeNoMemory: the options of what is done often leave no garbage when they are read.
func TestOptionsTakeNoMemory(t *testing.T) {
	for _, command := range []string{
		"BUS.PUB t p EXPIRES 1000",
		"BUS.PUB t p mayblock 1000 expires 1000",
		"BUS.PUB sub/a p EXPIRES 1000",
	} {
		t.Run(command, func(t *testing.T) {
			m := newManual(t, 1, func(s *Setup, _ *Options) { s.Verify = false })
			sender, receiver := m.connect(false), m.connect(false)
			receiver.cmd("HELLO", "3")
			receiver.cmd("BUS.SUB", "sub/#")
			m.settle()
			receiver.take()
			words, from, buf := wordsOf(strings.Fields(command)...), m.of(sender), make([]byte, 1<<10)
			got := ""
			round := func() {
				m.execute(from, words)
				m.turn(nil)
				n, err := unix.Read(sender.fd, buf)
				if err != nil {
					t.Fatal("not answered: ", err)
				}
				if buf[0] != '*' {
					got = string(buf[:n])
				}
				if words[1][0] == 's' {
					if n, err := unix.Read(receiver.fd, buf); err != nil || n == 0 {
						t.Fatal("not delivered: ", n, err)
					}
				}
			}
			round()
			if n := testing.AllocsPerRun(1000, round); n > 0 || got != "" {
				t.Errorf("it allocates %v times, or is answered %q", n, got)
			}
		})
	}
}

// TestRequestReadyOfItsOwn: that an asker has read is told to those who wait for him, and not to those who wait for another that asked when
// his request was over.
func TestRequestReadyOfItsOwn(t *testing.T) {
	s := newStage(t)
	r, a, b := s.connect(1000), s.connect(1001), s.connect(1002)
	for _, c := range []actor{r, a, b} {
		c.cmd("HELLO", "3")
	}
	r.cmd("BUS.SERVE", "t")
	hold := func(c actor, id string) {
		t.Helper()
		c.cmd("BUS.REQ", "t", "x", "ASYNC", "PARTS")
		s.settle()
		c.SetRoom(0)
		for range 2 {
			r.cmd("BUS.REPLY", id, "part", "MORE")
			s.settle()
		}
		if got := r.Take(); !strings.HasSuffix(got, "+WAIT\r\n") {
			t.Fatalf("the responder was told %q", got)
		}
	}
	ready := func(when, id string) {
		t.Helper()
		want := ""
		if id != "" {
			want = ">2\r\n$9\r\nbus.ready\r\n:" + id + "\r\n"
		}
		if got := r.Take(); got != want {
			t.Errorf("%s: the responder was told %q, want %q", when, got, want)
		}
	}
	s.settle()
	hold(a, "1")
	r.cmd("BUS.REPLY", "1", "end")
	s.settle()
	r.Take()
	hold(b, "2")
	a.SetRoom(-1)
	s.settle()
	ready("when the first had read", "")
	b.SetRoom(-1)
	s.settle()
	ready("when the second had read", "2")
}

// TestRequestAskedAgain: of a request that is asked again as its responder is gone, nothing is told or kept: who asks gets the answers that
// there are in the end, and pays for these alone, however often that was.
func TestRequestAskedAgain(t *testing.T) {
	const often = 1000
	for name, c := range map[string]struct {
		words string
		want  string // last what is told of the answer "a", and of "b" before it, if there are two
	}{
		"an answer":       {"REPEATABLE", "$1\r\na\r\n"},
		"several answers": {"REPEATABLE REPLIES ALL", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"},
		"parts": {"REPEATABLE ASYNC PARTS", ">5\r\n$8\r\nbus.part\r\n:T\r\n:1\r\n$1\r\na\r\n:0\r\n" +
			">3\r\n$4\r\ndone\r\n:T\r\n:1\r\n"},
		"parts of several": {"REPEATABLE REPLIES ALL ASYNC PARTS", ">5\r\n$8\r\nbus.part\r\n:T\r\n:1\r\n$1\r\nb\r\n:0\r\n" +
			">5\r\n$8\r\nbus.part\r\n:T\r\n:2\r\n$1\r\na\r\n:0\r\n>3\r\n$4\r\ndone\r\n:T\r\n:2\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			asker, one, two, other := s.connect(1000), s.connect(1001), s.connect(1001), s.connect(1001)
			for _, x := range []actor{asker, one, two, other} {
				x.cmd("HELLO", "3")
			}
			one.cmd("BUS.SERVE", "t", "GROUP", "g")
			if strings.Contains(name, "several") {
				other.cmd("BUS.SERVE", "t")
			}
			s.settle()
			asker.Take()
			asker.cmd(append([]string{"BUS.REQ", "t", "x"}, strings.Fields(c.words)...)...)
			s.settle()
			other.cmd("BUS.REPLY", "1", "b")
			s.settle()
			for range often {
				two.cmd("BUS.SERVE", "t", "GROUP", "g")
				s.settle()
				one.cmd("BUS.UNSERVE")
				s.settle()
				one, two = two, one
			}
			user := s.set.Users.Find(1000)
			if n, most := user.Used(account.Output), len("x")+len("b"); n > most {
				t.Errorf("%d bytes are kept after %d responders, want %d at most", n, often, most)
			}
			one.cmd("BUS.REPLY", "1", "a")
			s.settle()
			got := asker.Take()
			if ticket, behind, is := strings.Cut(got, "\r\n"); is && ticket[0] == ':' {
				got = strings.ReplaceAll(behind, ticket, ":T")
			}
			if got != c.want {
				t.Errorf("who asks is told %.300q, want %q", got, c.want)
			}
		})
	}
}

// TestRequestAskedAgainOfSlowAsker: who has waited for an asker to read, and is gone before that, is forgotten.
func TestRequestAskedAgainOfSlowAsker(t *testing.T) {
	const often = 100
	s := newStage(t, func(_ *Setup, o *Options) { o.Limits.Output = 16 << 10 })
	asker, pub := s.connect(1000), s.connect(1001)
	asker.cmd("HELLO", "3")
	asker.cmd("BUS.SUB", "fill")
	serve := func() actor {
		r := s.connect(1001)
		r.cmd("HELLO", "3")
		r.cmd("BUS.SERVE", "t", "GROUP", "g")
		s.settle()
		r.Take()
		return r
	}
	r := serve()
	asker.cmd("BUS.REQ", "t", "x", "REPEATABLE", "ASYNC", "PARTS")
	s.settle()
	asker.Take()
	asker.SetRoom(0)
	pub.cmd("PUBLISH", "fill", strings.Repeat("x", 10<<10))
	s.settle()
	var all []weak.Pointer[session.Session]
	for range often {
		next := serve()
		r.Take()
		r.cmd("BUS.REPLY", "1", "a", "MORE")
		s.settle()
		if got := r.Take(); !strings.HasPrefix(got, "-BUSY who asks has to read first") {
			t.Fatalf("the responder was told %q", got)
		}
		all = append(all, weak.Make(r.server))
		r.Close()
		s.settle()
		r = next
	}
	r.cmd("BUS.REPLY", "1", "a", "MORE")
	s.settle()
	r.Take()
	runtime.GC()
	known := 0
	for _, p := range all {
		if p.Value() != nil {
			known++
		}
	}
	if known > often/10 {
		t.Errorf("%d of %d responders that are gone are known", known, often)
	}
	asker.SetRoom(-1)
	s.settle()
	if got := r.Take(); got != ">2\r\n$9\r\nbus.ready\r\n:1\r\n" {
		t.Errorf("the last responder was told %q", got)
	}
}

// TestRequestAgainAfterOthers: a request with a REQID that is over is told again by its own ticket, and how it ended, whatever was asked
// since.
func TestRequestAgainAfterOthers(t *testing.T) {
	h := start(t)
	r, a, b := h.serve("t"), h.dial3(), h.dial3()
	first := []string{"BUS.REQ", "t", "x", "ASYNC", "REQID", "1"}
	ticket := a.do(first...).Int
	r.do("BUS.REPLY", r.asked("t=x"), "answer")
	told := func() {
		t.Helper()
		if v := a.value(); v.Kind != wire.KindPush || v.Elems[1].Int != ticket || v.Elems[2].Str != "answer" {
			t.Errorf("got %+v, want the answer to %d", v, ticket)
		}
	}
	told()
	for range 3 {
		b.cmd("BUS.REQ", "t", "y")
		r.do("BUS.REPLY", r.asked("t=y"), "another")
		b.want(bulk("another"))
	}
	if again := a.do(first...).Int; again != ticket {
		t.Errorf("the ticket is %d, and was %d", again, ticket)
	}
	told()
	h.nothingKept()
}
