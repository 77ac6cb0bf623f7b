package hostile

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// busy has a peer send input again and again for a while, and read all that comes.
func busy(t testing.TB, p *testdaemon.Peer, input string, duration time.Duration) (sent int) {
	t.Helper()
	end := time.Now().Add(duration)
	done := make(chan struct{})
	_ = p.SetDeadline(end)
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, p)
	}()
	for time.Now().Before(end) {
		n, err := io.WriteString(p.UnixConn, input)
		sent += n
		if err != nil {
			break
		}
	}
	<-done
	return sent
}

// subscribe makes many subscriptions at once and reads the answers.
func subscribe(t testing.TB, p *testdaemon.Peer, command string, texts []string) {
	t.Helper()
	for len(texts) > 0 {
		n := min(len(texts), 100)
		var b strings.Builder
		for _, text := range texts[:n] {
			words := []string{command, text}
			if command == "BUS.SUB" {
				words = append(words, "RAW") // on RESP2
			}
			b.WriteString(testdaemon.Cmd(words...))
		}
		p.Send(b.String())
		for range n {
			if got := p.Frame(); got[0] == '-' {
				t.Fatalf("%s: %q", command, got)
			}
		}
		texts = texts[n:]
	}
}

// costlyChannels are so many channels, and a command that looks for some of them and takes long to find none.
func costlyChannels(n int) (channels []string, list string) {
	for i := range n {
		channels = append(channels, fmt.Sprintf("%s%06d", strings.Repeat("a", 248), i))
	}
	return channels, testdaemon.Cmd("PUBSUB", "CHANNELS", "*"+strings.Repeat("a", 120)+"[^a0-9]*")
}

// One who asks for the most costly things, many at a time, and takes the answers as quickly as they come, has his
// share of the loop and no more.
func TestCostlyCommands(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	for range 1000 {
		d.Dial(t)
	}
	for _, c := range []struct{ name, input string }{
		{"CLIENT LIST", strings.Repeat("CLIENT LIST\r\n", 1000)},
		{"CLIENT KILL", strings.Repeat("CLIENT KILL TYPE replica\r\n", 1000)},
		{"COMMAND DOCS", strings.Repeat("COMMAND DOCS\r\n", 1000)},
		{"COMMAND DOCS of many", strings.Repeat("COMMAND DOCS"+strings.Repeat(" client", 64)+"\r\n", 200)},
		{"COMMAND INFO of many", strings.Repeat("COMMAND INFO"+strings.Repeat(" client", 64)+"\r\n", 200)},
		{"COMMAND DOCS of too many", testdaemon.Cmd(append([]string{"COMMAND", "DOCS"}, strings.Fields(strings.Repeat("client ", 16_000))...)...)},
		{"IPCD.STATUS", strings.Repeat("IPCD.STATUS\r\n", 1000)},
		{"unknown", strings.Repeat("lock.acquirelock.acquirelock\r\n", 1000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := watch(t, d)
			p := d.Dial(t)
			before := d.CPU()
			sent := busy(t, p, c.input, 500*time.Millisecond)
			_ = p.Close()
			t.Logf("%d KiB of commands took the daemon %v", sent>>10, (d.CPU() - before).Round(time.Millisecond))
			b.calm()
		})
	}
	within(t, d, 200)
}

// Nor does it help to be many who ask for one costly thing each, all in one moment.
func TestCostlyAtOnce(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	n := 20_000
	if testdaemon.Race { // which takes twenty times as long, and all are answered at the end of that
		n = 2000
	}
	channels, list := costlyChannels(n)
	subscribe(t, d.Dial(t), "SUBSCRIBE", channels)
	var peers []*testdaemon.Peer
	for range 100 {
		peers = append(peers, d.Dial(t))
	}
	b := watch(t, d)
	before := d.CPU()
	for _, p := range peers {
		p.Send(list)
	}
	for _, p := range peers {
		p.Want("*0\r\n")
	}
	all := d.CPU() - before
	t.Logf("all took the daemon %v", all.Round(time.Millisecond))
	b.calm()
	if most := max(all/10, 5*soon); b.busy > most {
		t.Errorf("a bystander waited for %v of that, more than %v", b.busy, most)
	}
}

// A message to thousands of filters of one connection, of which none is read.
func TestManyFilters(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	filters := make([]string, 0, 8192)
	for bits := range 8192 { // all that match x/x/…/x
		levels := make([]string, 14)
		for i := range levels {
			levels[i] = "x"
			if i > 0 && bits>>(i-1)&1 == 1 {
				levels[i] = "+"
			}
		}
		filters = append(filters, strings.Join(levels, "/"))
	}
	subscribe(t, d.Dial(t), "BUS.SUB", filters)
	b := watch(t, d)
	p := d.Dial(t)
	topic := strings.TrimSuffix(strings.Repeat("x/", 14), "/")
	var input strings.Builder
	for range 30 {
		input.WriteString(testdaemon.Cmd("BUS.PUB", topic, strings.Repeat("p", 100)))
	}
	before := d.CPU()
	p.Send(input.String())
	delivered, dropped := 0, 0
	for range 30 {
		reply := p.Frame()
		var n, m int
		_, _ = fmt.Sscan(field(t, reply, "delivered"), &n)
		_, _ = fmt.Sscan(field(t, reply, "dropped"), &m)
		delivered, dropped = delivered+n, dropped+m
	}
	t.Logf("30 messages took the daemon %v; %d delivered, %d dropped", (d.CPU() - before).Round(time.Millisecond), delivered, dropped)
	if delivered != 30*len(filters) || dropped == 0 || dropped > delivered {
		t.Errorf("%d delivered, %d dropped, want %d and some of those", delivered, dropped, 30*len(filters))
	}
	b.calm()
	within(t, d, 150)
}

// Globs that are made to take long, and names to take long with them: in a listing of 20,000 channels, and where a message
// is published past as many globs as a user may have.
func TestCostlyGlobs(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	globs := make([]string, 1000)
	for i := range globs {
		globs[i] = fmt.Sprintf("*%s[^az0-9]%04d*", strings.Repeat("a", 120), i)
	}
	subscribe(t, d.Dial(t), "PSUBSCRIBE", globs)
	channels, letters := costlyChannels(20_000)
	subscribe(t, d.Dial(t), "SUBSCRIBE", channels)
	var topics strings.Builder
	for i := range 40 {
		topics.WriteString(testdaemon.Cmd("PUBLISH", fmt.Sprintf("%s%05d", strings.Repeat("a", 250), i), ""))
	}
	long := func(size int) string {
		return testdaemon.Cmd("PUBLISH", strings.Repeat("a", size), "")
	}
	list := func(glob string) string { return testdaemon.Cmd("PUBSUB", "CHANNELS", glob) }
	for _, c := range []struct {
		name, input string
		most        time.Duration // of processor time for one of them; some times what it takes
	}{
		{"one class", list("*[" + strings.Repeat("b", 250) + "]"), 250 * time.Millisecond},
		{"many classes", list("*" + strings.Repeat("[ab]", 60) + "[z]"), 250 * time.Millisecond},
		{"letters", letters, 500 * time.Millisecond},
		{"all", list("*"), 500 * time.Millisecond},
		{"PUBLISH", topics.String(), 20 * time.Millisecond},
		{"PUBLISH under long names", long(5000), 300 * time.Millisecond},
		{"PUBLISH under names that are too long", long(900_000), 20 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := watch(t, d)
			p := d.Dial(t)
			n, sent := strings.Count(c.input, "*3\r\n"), 0
			before := d.CPU()
			for sent < 5 {
				p.Send(c.input)
				for range n {
					p.Frame()
				}
				sent += n
			}
			each := (d.CPU() - before) / time.Duration(sent)
			t.Logf("each took the daemon %v", each.Round(10*time.Microsecond))
			if most := c.most * time.Duration(map[bool]int{false: 1, true: 10}[testdaemon.Race]); each > most {
				t.Errorf("each took the daemon %v, over %v", each, most)
			}
			b.calm()
		})
	}
	within(t, d, 200)
}
