package server

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestWillsModel does at random what can happen to wills, and holds what is published and what is retained to a naive model: of processes that
// die, connections that end, values that others publish, and daemons that are killed.
func TestWillsModel(t *testing.T) {
	told := map[string]int{}
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &willsModel{t: t, random: rand.New(rand.NewPCG(seed, 1)), values: map[string]modelValue{}, told: told}
			w.start(nil)
			for range 100 {
				w.act()
				if t.Failed() {
					return
				}
			}
		})
	}
	for _, what := range []string{"killed 9", "disconnected", "unknown", "cleared", "left"} {
		if told[what] == 0 {
			t.Errorf("nothing was ever %s: %v", what, told)
		}
	}
}

// A modelWill is one that is to be published.
type modelWill struct {
	pid, conn            int    // conn is 0 of a process, and -1 of one that was connected to a daemon before
	label                string // the number of the connection in the journal
	owner                int    // which of those who have wills was the first to have one
	topic, payload, then string
}

type modelValue struct {
	payload, ended string
	pid            int
}

type willsModel struct {
	*manual
	t       *testing.T
	random  *rand.Rand
	sub     *end
	reader  *end
	all     []*child
	conns   []*modelConn
	wills   []modelWill
	values  map[string]modelValue
	told    map[string]int // how often something was
	numbers int
}

type modelConn struct {
	*end
	number int
	child  *child
}

// start starts a daemon with what the one before had written down.
func (w *willsModel) start(kept *memory) {
	w.manual = newManual(w.t, 1, func(s *Setup, _ *Options) {
		s.OpenPeer = func(_ int, who peer.Peer) (int, error) { return unix.PidfdOpen(who.PID, 0) }
		if kept != nil {
			s.Journal, s.Records = kept, must(kept.Read())
		}
	})
	w.watch.FindKnown()
	w.Server.wills.Start()
	w.sub, w.reader = w.connect(false), w.connect(false)
	w.sub.cmd("HELLO", "3")
	w.sub.cmd("BUS.SUB", "#")
	w.settle()
	w.sub.take()
}

func (w *willsModel) act() {
	topic := string(rune('a' + w.random.IntN(4)))
	payload := fmt.Sprint(w.random.IntN(1000))
	n := w.random.IntN(20)
	if len(w.all) == 0 || n == 0 && len(w.all) < 4 {
		w.all = append(w.all, spawn(w.t, nil, "idle", "0"))
		return
	}
	if n < 3 && len(w.conns) < 6 || len(w.conns) == 0 {
		w.open(w.all[w.random.IntN(len(w.all))])
		return
	}
	c := w.conns[w.random.IntN(len(w.conns))]
	pid, of, bound := c.child.pid, c.number, []string(nil)
	if w.random.IntN(2) == 0 {
		of, bound = 0, []string{"FOR", fmt.Sprint(c.child.pid)}
	}
	switch {
	case n < 10:
		then := []string{"", "RETAIN", "CLEAR"}[w.random.IntN(3)]
		words := append([]string{"BUS.WILL", topic, payload}, bound...)
		if then != "" {
			words = append(words, then)
		}
		is := modelWill{pid, of, "0", w.next(), topic, payload, then}
		if of != 0 {
			is.label = fmt.Sprint(c.id)
		}
		for _, other := range w.wills {
			if other.pid == pid && other.conn == of {
				is.owner = other.owner
			}
		}
		w.remove(pid, of, topic)
		w.wills = append(w.wills, is)
		w.say(c, words, "+OK\r\n")
	case n < 12:
		was := w.remove(pid, of, topic)
		w.say(c, append([]string{"BUS.UNWILL", topic}, bound...), fmt.Sprintf(":%d\r\n", was))
	case n < 15:
		c.cmd("BUS.PUB", topic, payload, "RETAIN")
		w.settle()
		c.take()
		w.values[topic] = modelValue{payload, "", pid}
		w.compare(topic + "=" + payload)
	case n < 17:
		c.close()
		w.conns = slices.DeleteFunc(w.conns, func(other *modelConn) bool { return other == c })
		w.settle()
		w.later()
		w.compare(w.publish("disconnected", func(is modelWill) bool { return is.conn == c.number })...)
	case n < 19:
		w.die(c.child)
		w.settle()
		w.later()
		w.compare(w.publish("killed 9", func(is modelWill) bool { return is.pid == pid })...)
	default:
		w.restart(c.child)
	}
}

// later is when the kernel has had its time.
func (w *willsModel) later() {
	w.at(w.set.Now() + w.watch.EndingTime() + 1)
	w.settle()
}

func (w *willsModel) open(of *child) {
	fds := must2(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))
	fd := must(unix.PidfdOpen(of.pid, 0))
	who := must(peer.FromPIDFD(fd))
	_ = unix.Close(fd)
	sess := must(w.join(fds[1], who))
	c := &end{fd: fds[0], of: w.Server, server: fds[1], id: sess.ID}
	w.clients = append(w.clients, c)
	w.conns = append(w.conns, &modelConn{c, w.next(), of})
}

func (w *willsModel) next() int {
	w.numbers++
	return w.numbers
}

func must2(fds [2]int, err error) [2]int { return must(fds, err) }

func (w *willsModel) say(c *modelConn, words []string, want string) {
	c.cmd(words...)
	w.settle()
	if got := c.take(); got != want {
		w.t.Errorf("%q is answered %q, want %q", words, got, want)
	}
	w.compare()
}

// remove removes a will, and what the process has said for the topic on connections to daemons before.
func (w *willsModel) remove(pid, conn int, topic string) (was int) {
	w.wills = slices.DeleteFunc(w.wills, func(is modelWill) bool {
		gone := is.pid == pid && is.topic == topic && (is.conn == conn || is.conn == -1)
		if gone {
			was = 1
		}
		return gone
	})
	return was
}

// publish says which messages wills become, and what becomes of the values: of one owner after the other, in the order in which they were said.
func (w *willsModel) publish(how string, which func(modelWill) bool) (messages []string) {
	slices.SortStableFunc(w.wills, func(a, b modelWill) int { return a.owner - b.owner })
	w.wills = slices.DeleteFunc(w.wills, func(is modelWill) bool {
		if !which(is) {
			return false
		}
		value, has := w.values[is.topic]
		switch {
		case is.then == "RETAIN":
			w.values[is.topic] = modelValue{is.payload, how, is.pid}
		case is.then == "CLEAR" && has && value.pid == is.pid:
			delete(w.values, is.topic)
			w.told["cleared"]++
		case is.then == "CLEAR" && has:
			w.told["left"]++
			return true
		}
		w.told[how]++
		messages = append(messages, is.topic+"="+is.payload+" "+how)
		return true
	})
	return messages
}

// die kills a process, and its connections are of nobody then.
func (w *willsModel) die(of *child) {
	_ = syscall.Kill(of.pid, syscall.SIGKILL)
	_ = unix.Waitid(unix.P_PID, of.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	w.all = slices.DeleteFunc(w.all, func(other *child) bool { return other == of })
	w.conns = slices.DeleteFunc(w.conns, func(c *modelConn) bool { return c.child == of })
}

// restart kills the daemon, and a process while there is none.
func (w *willsModel) restart(victim *child) {
	kept := w.setup.Journal.(*memory)
	w.die(victim)
	_ = victim.cmd.Wait()
	w.conns = nil
	// The next daemon finds them in the order of their keys.
	slices.SortFunc(w.wills, func(a, b modelWill) int {
		return cmp.Or(cmp.Compare(fmt.Sprint(a.pid), fmt.Sprint(b.pid)), cmp.Compare(a.label, b.label), cmp.Compare(a.topic, b.topic))
	})
	for i := range w.wills {
		is := &w.wills[i]
		if is.owner = w.next(); i > 0 && w.wills[i-1].pid == is.pid && w.wills[i-1].label == is.label {
			is.owner = w.wills[i-1].owner
		}
		if is.conn != 0 {
			is.conn = -1
		}
	}
	w.publish("unknown", func(is modelWill) bool { return is.pid == victim.pid })
	w.start(kept)
	w.compare()
}

// compare holds what the subscriber was told, and what is retained, against the model.
func (w *willsModel) compare(want ...string) {
	w.t.Helper()
	var got []string
	dec := wire.NewDecoder(strings.NewReader(w.sub.take()), wire.Limits{Frame: 1 << 20, Words: 1 << 16, Depth: 16})
	for v, err := dec.Decode(); err == nil; v, err = dec.Decode() {
		text := v.Elems[2].Str + "=" + v.Elems[3].Str
		for _, more := range v.Elems[9:] {
			if how := more.Get("ended").Str; how != "" {
				text += " " + how
			}
		}
		got = append(got, text)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("subscribers are told %q, want %q", got, want)
	}
	for _, topic := range []string{"a", "b", "c", "d"} {
		w.reader.cmd("BUS.GET", topic)
		w.settle()
		v, err := wire.NewDecoder(strings.NewReader(w.reader.take()), wire.Limits{Frame: 1 << 20, Words: 1 << 16, Depth: 16}).Decode()
		if err != nil {
			w.t.Fatal(err)
		}
		list := map[string]string{}
		for i := 0; i+1 < len(v.Elems); i += 2 {
			list[v.Elems[i].Str] = v.Elems[i+1].Text()
		}
		is := modelValue{list["payload"], list["ended"], 0}
		_, _ = fmt.Sscan(list["pid"], &is.pid)
		if is != w.values[topic] {
			w.t.Errorf("the value of %s is %+v, want %+v", topic, is, w.values[topic])
		}
	}
	if n := w.Server.wills.Len(); n != len(w.wills) {
		w.t.Errorf("there are %d wills, want %d", n, len(w.wills))
	}
}
