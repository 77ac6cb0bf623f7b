package hostile

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// A peer that asks for ever and never reads waits for itself. What the daemon holds for it is the reply it was at, not
// all the replies it asked for: so also where a reply is a thousand times as long as its command.
func TestNeverReads(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	for range 500 { // to make CLIENT LIST long
		d.Dial(t)
	}
	b := watch(t, d)
	for name, input := range map[string]string{
		"PING":          strings.Repeat("PING\r\n", 10_000),
		"ECHO":          testdaemon.Cmd("ECHO", strings.Repeat("x", 1_000_000)),
		"INFO":          strings.Repeat("INFO\r\n", 10_000),
		"COMMAND":       strings.Repeat("COMMAND\r\n", 7000),
		"COMMAND DOCS":  strings.Repeat("COMMAND DOCS\r\n", 5000),
		"CLIENT LIST":   strings.Repeat("CLIENT LIST\r\n", 5000),
		"unknown":       strings.Repeat("NO.SUCH.COMMAND\r\n", 4000),
		"to itself":     "HELLO 3\r\nSUBSCRIBE me\r\n" + strings.Repeat("PUBLISH me "+strings.Repeat("x", 1000)+"\r\n", 60),
		"UNSUBSCRIBE":   testdaemon.Cmd(append([]string{"UNSUBSCRIBE"}, make([]string, 10_000)...)...),
		"PUBSUB NUMSUB": testdaemon.Cmd(append([]string{"PUBSUB", "NUMSUB"}, make([]string, 10_000)...)...),
	} {
		t.Run(name, func(t *testing.T) {
			sent, err := pour(d.Dial(t), input, 32*mib)
			now, peak := d.RSS()
			t.Logf("%d KiB sent, %v; memory %.1f MiB, at most %.1f", sent>>10, err, float64(now)/mib, float64(peak)/mib)
		})
	}
	b.calm()
	within(t, d, 80)
}

// Nor does it help to be many: what all connections of a user hold together has a limit, too.
func TestManyNeverRead(t *testing.T) {
	const conns, buffers = 400, 16 // MiB
	d := testdaemon.Start(t, testdaemon.Config{Quick: true, TOML: fmt.Sprintf("[limits]\nbuffers_per_user = \"%dMiB\"\n", buffers)})
	b := watch(t, d)
	echo := testdaemon.Cmd("ECHO", strings.Repeat("x", 900_000))
	partial := "*2\r\n$4\r\nPING\r\n$900000\r\n" + strings.Repeat("x", 60_000)
	words := "*16384\r\n" + strings.Repeat("$0\r\n\r\n", 16_383)
	for _, c := range []struct{ name, input string }{
		{"replies", echo}, {"commands in part", partial}, {"many words", words},
	} {
		t.Run(c.name, func(t *testing.T) {
			observer := d.Dial(t)
			var peers []*testdaemon.Peer
			ended := 0
			for range conns {
				p := d.Dial(t)
				_ = p.SetDeadline(time.Now().Add(patience))
				if _, err := io.WriteString(p, c.input); err != nil {
					ended++
				}
				peers = append(peers, p)
			}
			for range 100 {
				observer.Do("PING") // all is read by then
			}
			now, peak := d.RSS()
			t.Logf("memory %.1f MiB, at most %.1f; %d of %d ended while they sent", float64(now)/mib, float64(peak)/mib, ended, conns)
			for _, p := range peers {
				_ = p.Close()
			}
			settled(t, observer, 2)
		})
	}
	b.calm()
	// The buffers, twice as much for what the collector has not collected yet, and the daemon itself.
	within(t, d, 3*buffers+30)
}

// Messages that many do not read take no more than half of what a user may hold. A subscriber of BUS.SUB misses them and is
// told, one of Redis's is ended, and the user's other connections have room for their commands.
func TestManyNeverReadMessages(t *testing.T) {
	const conns, buffers, size, messages = 200, 16, 10_000, 200 // MiB, bytes
	for _, command := range []string{"BUS.SUB", "SUBSCRIBE"} {
		t.Run(command, func(t *testing.T) {
			d := testdaemon.Start(t, testdaemon.Config{Quick: true, TOML: fmt.Sprintf("[limits]\nbuffers_per_user = \"%dMiB\"\n", buffers)})
			observer, publisher := d.Dial(t), d.Dial(t)
			var peers []*testdaemon.Peer
			for range conns {
				p := d.Dial(t)
				p.Do("HELLO", "3")
				p.Do(command, "flood")
				peers = append(peers, p)
			}
			b := watch(t, d)
			delivered, dropped := 0, 0
			for range messages / 5 {
				publisher.Send(strings.Repeat(testdaemon.Cmd("BUS.PUB", "flood", strings.Repeat("x", size)), 5))
				for range 5 {
					reply := publisher.Frame()
					n, _ := strconv.Atoi(field(t, reply, "delivered"))
					m, _ := strconv.Atoi(field(t, reply, "dropped"))
					delivered, dropped = delivered+n, dropped+m
				}
				// A command that does not come at once, and its reply, of as many bytes as a command may have.
				word := strings.Repeat("e", 900_000)
				echo := testdaemon.Cmd("ECHO", word)
				observer.Send(echo[:500_000])
				observer.Send(echo[500_000:])
				if got := observer.Frame(); len(got) != len("$900000\r\n\r\n")+len(word) {
					t.Fatalf("got %.100q", got)
				}
			}
			left := status(t, observer, "connections") - 3
			t.Logf("%d messages to %d: %d delivered, %d dropped at once, %d in all; %d connections left", messages, conns, delivered, dropped,
				status(t, observer, "messages_dropped"), left)
			b.calm()
			within(t, d, 3*buffers+30)
			if command == "SUBSCRIBE" {
				if left == conns || left == 0 {
					t.Errorf("%d of %d are left", left, conns)
				}
				return
			}
			if left != conns {
				t.Errorf("%d connections were ended", conns-left)
			}
			lost := 0
			for i, p := range peers {
				had := 0
				for had < messages {
					switch got := bulks(p.Frame()); got[0] {
					case "bus.message":
						had++
					case "bus.lost":
						n, _ := strconv.Atoi(got[2])
						had += n
						lost += n
					default:
						t.Fatalf("got %.100q", got)
					}
				}
				if had != messages {
					t.Errorf("subscriber %d: %d messages or losses, want %d", i, had, messages)
				}
			}
			if n := status(t, observer, "messages_dropped"); lost != n || lost == 0 {
				t.Errorf("told of %d lost, %d were dropped", lost, n)
			}
		})
	}
}

// A large message of which one connection gets a copy for each of a thousand subscriptions.
func TestManyCopies(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	topic := strings.Repeat("x/", 10) + "x"
	for _, c := range []struct {
		command string
		text    func(n int) string
	}{
		{"BUS.SUB", func(n int) string { // all that match x/x/…/x
			levels := strings.Split(topic, "/")
			for i := range levels {
				if n>>i&1 == 1 {
					levels[i] = "+"
				}
			}
			return strings.Join(levels, "/")
		}},
		{"PSUBSCRIBE", func(n int) string { return fmt.Sprintf("x*[x%c]*[x%c]", 'A'+n/32, 'A'+n%32) }},
	} {
		t.Run(c.command, func(t *testing.T) {
			texts := make([]string, 1000)
			for i := range texts {
				texts[i] = c.text(i)
			}
			subscribe(t, d.Dial(t), c.command, texts)
			b := watch(t, d)
			before := d.CPU()
			reply := d.Dial(t).Do("BUS.PUB", topic, strings.Repeat("p", 500_000))
			t.Logf("a message took the daemon %v; %s delivered, %s dropped", (d.CPU() - before).Round(time.Millisecond),
				field(t, reply, "delivered"), field(t, reply, "dropped"))
			b.calm()
		})
	}
	within(t, d, 100)
}

// What a connection says of itself is kept as long as it lasts, so it is short.
func TestLongNames(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	name := strings.Repeat("n", 500_000)
	for range 50 {
		p := d.Dial(t)
		for _, command := range [][]string{
			{"CLIENT", "SETNAME", name}, {"HELLO", "2", "SETNAME", name},
			{"CLIENT", "SETINFO", "lib-name", name}, {"CLIENT", "SETINFO", "lib-ver", name},
		} {
			if got := p.Do(command...); got[0] != '-' {
				t.Fatalf("%s: got %.60q", command[:2], got)
			}
		}
	}
	within(t, d, 40)
}

// Subscriptions are bounded by user, so that it is no use to have many connections.
func TestManySubscriptions(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	b := watch(t, d)
	const each = 10_000
	taken, refused := 0, 0
	for i := range 13 {
		p := d.Dial(t)
		for j := range each / 1000 {
			var batch strings.Builder
			for k := range 1000 {
				batch.WriteString(testdaemon.Cmd("BUS.SUB", fmt.Sprintf("%s/%d/%d/+", strings.Repeat("x", 200), i, j*1000+k), "RAW"))
			}
			p.Send(batch.String())
			for range 1000 {
				if p.Frame()[0] == ':' {
					taken++
				} else {
					refused++
				}
			}
		}
	}
	t.Logf("%d subscriptions taken, %d refused", taken, refused)
	if taken > 100_000 || refused == 0 {
		t.Errorf("%d taken, %d refused", taken, refused)
	}
	b.calm()
	within(t, d, 250)
}

// A command in part, longer than any, and the hang-up of the one who sent it leave nothing behind, least of all a loop
// that turns for it.
func TestHangUpWhenFull(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	fd := d.Descriptors()
	for name, input := range map[string]string{
		"line":    strings.Repeat("a", 100_000),
		"string":  "*3\r\n$524288\r\n" + strings.Repeat("a", 524_288) + "\r\n$524231\r\n" + strings.Repeat("a", 524_231) + "\r\n$1\r\n",
		"waiting": testdaemon.Cmd("LOCK.ACQUIRE", "held") + strings.Repeat("PING\r\n", 500_000),
	} {
		t.Run(name, func(t *testing.T) {
			holder := spawn(t, d)
			holder.tell("do a LOCK.ACQUIRE held")
			p := d.Dial(t)
			sent, err := pour(p, input, 4*mib)
			t.Logf("%d KiB sent, then %v", sent>>10, err)
			_ = p.Close()
			holder.die()
		})
	}
	p := d.Dial(t)
	settled(t, p, 1)
	rests(t, d)
	_ = p.Close()
	q := d.Dial(t)
	settled(t, q, 1)
	if n := d.Descriptors(); n > fd+1 {
		t.Errorf("%d descriptors, %d before", n, fd)
	}
}
