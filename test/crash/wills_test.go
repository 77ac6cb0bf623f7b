package crash

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestWillsUnderLoad: the daemon is killed while values are published, wills replaced, processes announce themselves and die. What was acknowledged
// is there when the next daemon is: the values, the presence of the living, and not that of the dead. Each dead has left its last word, the last one
// that was acknowledged or another that was said later, and that is said once: a value keeps its number, and a will that was published again would have another.
func TestWillsUnderLoad(t *testing.T) {
	w := willSite{site: newSite(t, seed()), living: map[string]*announcer{}, dead: map[string]*announcer{}}
	if w.rng.IntN(2) == 0 {
		w.keepSocket()
	}
	w.begin()
	for round := 0; w.deaths < max(*kills/2, 3) && !t.Failed(); round++ {
		for len(w.living) > mostLiving {
			w.buried(w.kill())
		}
		w.announce(1 + w.rng.IntN(3))
		wait := w.load(10 + w.rng.IntN(200))
		switch w.rng.IntN(3) {
		case 0: // dies before the daemon does
			w.kill()
		case 1: // dies while there is no daemon
			w.crash()
			w.kill()
			wait()
			w.begin()
			w.compare()
		}
		w.crash()
		wait()
		w.begin()
		w.compare()
	}
	for len(w.living) > 0 && !t.Failed() {
		w.buried(w.kill())
	}
	w.compare()
	t.Logf("%d daemons were killed, %d processes died", w.deaths, len(w.dead))
}

// mostLiving is how many live on into another round: with two wills each, all of a user's must be within the limit.
const mostLiving = 100

// A willSite is a site with processes that announce themselves.
type willSite struct {
	*site
	living map[string]*announcer
	dead   map[string]*announcer
	values map[string]*counted // by topic
}

// An announcer is a process whose presence and last word are known to the daemon.
type announcer struct {
	id    string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	pidfd int
	word  counted
	seq   uint64 // of its last word, 0 if that was not heard yet
}

// A counted is something that is said again and again, with a number that rises.
type counted struct {
	sent, known int // the last one that was sent, and that was acknowledged
}

// is reports whether text is the last one that was acknowledged, or one that was sent later.
func (c *counted) is(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= c.known && n <= c.sent
}

// say says the next one in the place of the third word.
func (c *counted) say(conn *ipc.Conn, fds []int, words ...string) error {
	c.sent++
	words[2] = strconv.Itoa(c.sent)
	send := func() error { return conn.SendFDs(fds, words...) }
	if fds == nil {
		send = func() error { return conn.Send(words...) }
	}
	err := send()
	if err == nil {
		_, err = conn.Reply()
	}
	if err == nil {
		c.known = c.sent
	}
	return err
}

// sayLast says the next last word of an announcer.
func (a *announcer) sayLast(conn *ipc.Conn) error {
	return a.word.say(conn, []int{a.pidfd}, "BUS.WILL", "last/"+a.id, "", "RETAIN", "FOR", "pid")
}

// announce starts processes, and returns when all that they say is acknowledged.
func (w *willSite) announce(n int) {
	w.t.Helper()
	for range n {
		w.begun++
		id := strconv.Itoa(w.begun)
		a := &announcer{id: id, cmd: exec.Command(w.ipcctl, "pub", "--hold", "online/"+id, id, "--", "cat")}
		a.cmd.Env = w.env
		var said bytes.Buffer
		a.cmd.Stderr = &said
		out, err := a.cmd.StdoutPipe()
		if err == nil {
			a.stdin, err = a.cmd.StdinPipe()
		}
		if err == nil {
			err = a.cmd.Start()
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() {
			_ = a.cmd.Process.Kill()
			_ = a.cmd.Wait()
		})
		_, _ = io.WriteString(a.stdin, "ready\n")
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			_ = a.cmd.Process.Kill()
			_ = a.cmd.Wait()
			w.t.Fatalf("%s does not announce itself: %v\n%s", id, err, &said)
		}
		if a.pidfd, err = unix.PidfdOpen(a.cmd.Process.Pid, 0); err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = unix.Close(a.pidfd) })
		conn := w.conn()
		err = a.sayLast(conn)
		conn.Close()
		if err != nil {
			w.t.Fatal(err)
		}
		w.living[id] = a
	}
}

func (w *willSite) conn() *ipc.Conn {
	w.t.Helper()
	conn, err := ipc.DialConn(context.Background(), w.Socket)
	if err != nil {
		w.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// kill kills one of the living, if there is any.
func (w *willSite) kill() (id string) {
	for id, a := range w.living {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		delete(w.living, id)
		w.dead[id] = a
		return id
	}
	return ""
}

// load has values be published, and the last words of the living be replaced, until the daemon dies, and returns when so many values are
// acknowledged. What it returns waits for the daemon's death.
func (w *willSite) load(n int) (wait func()) {
	if w.values == nil {
		w.values = map[string]*counted{}
		for i := range 7 {
			w.values["load/"+strconv.Itoa(i)] = new(counted)
		}
	}
	enough := make(chan struct{})
	var done sync.WaitGroup
	conn, topics, living := w.conn(), slices.Collect(maps.Keys(w.values)), slices.Collect(maps.Values(w.living))
	done.Go(func() {
		defer conn.Close()
		for i := 1; ; i++ {
			topic := topics[i%len(topics)]
			err := w.values[topic].say(conn, nil, "BUS.PUB", topic, "", "RETAIN")
			if err == nil && len(living) > 0 {
				at := i % len(living)
				if err = living[at].sayLast(conn); isCode(err, wire.CodeNotFound) { // it has died
					living, err = slices.Delete(living, at, at+1), nil
				}
			}
			if err != nil {
				if i <= n {
					close(enough)
				}
				return
			}
			if i == n {
				close(enough)
			}
		}
	})
	<-enough
	return done.Wait
}

func isCode(err error, code wire.Code) bool {
	is, ok := errors.AsType[*wire.Error](err)
	return ok && is.Code == code
}

// compare holds what the daemon has after its start against what it has acknowledged.
func (w *willSite) compare() {
	w.t.Helper()
	conn := w.conn()
	defer conn.Close()
	v, err := conn.Do("BUS.LIST", "online/#")
	if err != nil {
		w.t.Fatal(err)
	}
	there := map[string]bool{}
	for i := range v.Elems {
		id := strings.TrimPrefix(v.Elems[i].Get("topic").Str, "online/")
		there[id] = true
		if w.living[id] == nil {
			w.t.Errorf("%s is there, and is dead", id)
		}
	}
	for id := range w.living {
		if !there[id] {
			w.t.Errorf("%s lives, and is not there", id)
		}
		if v, err := conn.Do("BUS.GET", "last/"+id); err != nil || !v.IsNull() {
			w.t.Errorf("%s lives, and has said its last word: %+v, %v", id, v, err)
		}
	}
	for id, a := range w.dead {
		v, err := conn.Do("BUS.GET", "last/"+id)
		is := uint64(v.Get("seq").Int)
		if how := v.Get("ended").Str; err != nil || !a.word.is(v.Get("payload").Str) || how != "killed 9" && how != "unknown" && how != "unreaped" {
			w.t.Errorf("the last word of %s is %+v, %v; of %+v", id, v, err, a.word)
		} else if a.seq != 0 && a.seq != is {
			w.t.Errorf("the last word of %s was number %d, and is %d: it was said again", id, a.seq, is)
		}
		a.seq = is
	}
	for topic, last := range w.values {
		v, err := conn.Do("BUS.GET", topic)
		unsaid := v.IsNull() && last.known == 0
		if last.sent > 0 && (err != nil || !last.is(v.Get("payload").Str) && !unsaid) {
			w.t.Errorf("%s is %+v, %v; of %+v", topic, v, err, *last)
		}
	}
	if v, err := conn.Do("IPCD.STATUS"); err != nil || int(v.Get("wills").Int) != 2*len(w.living) {
		w.t.Errorf("%d wills are left of %d who live, %v", v.Get("wills").Int, len(w.living), err)
	}
	w.say(fmt.Sprint("there are ", len(w.living), ", dead are ", len(w.dead)))
}

// buried waits until the last word of one who was killed is said.
func (w *willSite) buried(id string) {
	w.t.Helper()
	conn := w.conn()
	defer conn.Close()
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		if v, err := conn.Do("BUS.GET", "last/"+id); err != nil || !v.IsNull() {
			return
		}
	}
	w.t.Errorf("%s has not said its last word", id)
}
