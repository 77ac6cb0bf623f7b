package crash

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
)

// TestWillsUnderLoad: the daemon is killed while values are published, processes announce themselves, leave wills and die. What was acknowledged
// is there when the next daemon is: the values, the presence of the living, and not that of the dead. Each dead has left its last word, which is
// said once: a value keeps its number, and a will that was published again would have another.
func TestWillsUnderLoad(t *testing.T) {
	w := willSite{site: newSite(t, seed()), living: map[string]*announcer{}, dead: map[string]uint64{}}
	if w.rng.IntN(2) == 0 {
		w.keepSocket()
	}
	w.begin()
	for round := 0; w.deaths < max(*kills/2, 3) && !t.Failed(); round++ {
		w.announce(1 + w.rng.IntN(3))
		published := w.load(10 + w.rng.IntN(200))
		switch w.rng.IntN(3) {
		case 0: // dies before the daemon does
			w.kill()
		case 1: // dies while there is no daemon
			w.crash()
			w.kill()
			w.begin()
		}
		w.crash()
		sent, known := published()
		w.begin()
		w.compare(sent, known)
	}
	for len(w.living) > 0 && !t.Failed() {
		w.buried(w.kill())
	}
	w.compare(nil, nil)
	t.Logf("%d daemons were killed, %d processes died", w.deaths, len(w.dead))
}

// A willSite is a site with processes that announce themselves.
type willSite struct {
	*site
	living map[string]*announcer
	dead   map[string]uint64 // the number of the last word of each, 0 if it was not heard yet
}

// An announcer is a process whose presence and last word are known to the daemon.
type announcer struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

// announce starts processes, and returns when all that they say is acknowledged.
func (w *willSite) announce(n int) {
	w.t.Helper()
	for range n {
		w.begun++
		id := strconv.Itoa(w.begun)
		a := &announcer{cmd: exec.Command(w.ipcctl, "pub", "--hold", "online/"+id, id, "--", "cat")}
		a.cmd.Env = w.env
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
			w.t.Fatalf("%s does not announce itself: %v", id, err)
		}
		pidfd, err := unix.PidfdOpen(a.cmd.Process.Pid, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		conn := w.conn()
		if err = conn.SendFDs([]int{pidfd}, "BUS.WILL", "last/"+id, "word", "RETAIN", "FOR", "pid"); err == nil {
			_, err = conn.Reply()
		}
		_ = unix.Close(pidfd)
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
		w.dead[id] = 0
		return id
	}
	return ""
}

// load has values be published until the daemon dies, and returns when so many are acknowledged. What it returns tells, after the daemon's
// death, for each topic which value was sent last, and which was acknowledged last.
func (w *willSite) load(n int) (published func() (sent, known map[string]int)) {
	sent, known := map[string]int{}, map[string]int{}
	enough := make(chan struct{})
	var done sync.WaitGroup
	conn := w.conn()
	done.Go(func() {
		defer conn.Close()
		for i := 1; ; i++ {
			topic := "load/" + strconv.Itoa(i%7)
			sent[topic] = i
			if _, err := conn.Do("BUS.PUB", topic, strconv.Itoa(i), "RETAIN"); err != nil {
				if i <= n {
					close(enough)
				}
				return
			}
			known[topic] = i
			if i == n {
				close(enough)
			}
		}
	})
	<-enough
	return func() (map[string]int, map[string]int) {
		done.Wait()
		return sent, known
	}
}

// compare holds what the daemon has after its start against what it has acknowledged.
func (w *willSite) compare(sent, known map[string]int) {
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
	for id, seq := range w.dead {
		v, err := conn.Do("BUS.GET", "last/"+id)
		is := uint64(v.Get("seq").Int)
		if how := v.Get("ended").Str; err != nil || v.Get("payload").Str != "word" || how != "killed 9" && how != "unknown" && how != "unreaped" {
			w.t.Errorf("the last word of %s is %+v, %v", id, v, err)
		} else if seq != 0 && seq != is {
			w.t.Errorf("the last word of %s was number %d, and is %d: it was said again", id, seq, is)
		}
		w.dead[id] = is
	}
	for topic, last := range known {
		v, err := conn.Do("BUS.GET", topic)
		if n, bad := strconv.Atoi(v.Get("payload").Str); err != nil || bad != nil || n != last && n != sent[topic] {
			w.t.Errorf("%s is %+v, %v; %d was sent last, and %d acknowledged", topic, v, err, sent[topic], last)
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
