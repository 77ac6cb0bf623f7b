package hostile

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/test/testdaemon"
)

const small = "[limits]\ninput = \"64KiB\"\noutput = \"256KiB\"\n"

// bulks are the texts and numbers of a frame in which nothing is nested.
func bulks(frame string) (all []string) {
	lines := strings.Split(frame, "\r\n")
	for i := 1; i+1 < len(lines); i++ {
		if lines[i][0] == '$' {
			i++
			all = append(all, lines[i])
		} else {
			all = append(all, lines[i][1:])
		}
	}
	return all
}

// A subscriber that does not read misses messages and is told how many, to the last one. Those who read miss none.
func TestNeverReadsBus(t *testing.T) {
	const messages, size = 3000, 1000
	d := testdaemon.Start(t, testdaemon.Config{TOML: small})
	b := watch(t, d)
	slow, quick, publisher := d.Dial(t), d.Dial(t), d.Dial(t)
	for _, p := range []*testdaemon.Peer{slow, quick} {
		p.Do("HELLO", "3")
		p.Send(testdaemon.Cmd("BUS.SUB", "flood/#"))
		p.Want(":1\r\n")
	}
	publish := func(from, to int) (delivered, dropped int) {
		for i := from; i < to; i++ {
			reply := publisher.Do("BUS.PUB", fmt.Sprintf("flood/%d", i), strings.Repeat("x", size))
			n, _ := strconv.Atoi(field(t, reply, "delivered"))
			m, _ := strconv.Atoi(field(t, reply, "dropped"))
			if n != 2 { // what is dropped for it is older
				t.Fatalf("message %d: %d delivered, %d dropped", i, n, m)
			}
			delivered, dropped = delivered+n, dropped+m
			if got := bulks(quick.Frame()); got[2] != fmt.Sprintf("flood/%d", i) {
				t.Fatalf("message %d came as %q", i, got)
			}
		}
		return delivered, dropped
	}
	delivered, dropped := publish(0, messages)
	t.Logf("%d messages: %d delivered, %d dropped", messages, delivered, dropped)
	if dropped == 0 || delivered != 2*messages {
		t.Errorf("%d delivered, %d dropped", delivered, dropped)
	}
	// It reads what there is. As it does not know how much that is, more is published when it has seen the loss.
	next, lost := 0, 0
	read := func() {
		got := bulks(slow.Frame())
		switch got[0] {
		case "bus.message":
			if n, _ := strconv.Atoi(strings.TrimPrefix(got[2], "flood/")); n != next {
				t.Fatalf("got message %d, expected %d after %d lost", n, next, lost)
			}
			next++
		case "bus.lost":
			n, _ := strconv.Atoi(got[2])
			lost += n
			next += n
		default:
			t.Fatalf("got %q", got)
		}
	}
	for next < messages {
		read()
	}
	if lost != dropped {
		t.Errorf("told of %d lost, %d were dropped", lost, dropped)
	}
	// From then on it is as any other, until it stops reading again.
	publish(messages, messages+100)
	for next < messages+100 {
		read()
	}
	_, again := publish(messages+100, 2*messages)
	for next < 2*messages {
		read()
	}
	if lost != dropped+again || again == 0 {
		t.Errorf("told of %d lost, %d and %d were dropped", lost, dropped, again)
	}
	b.calm()
	within(t, d, 40)
}

// A Redis subscriber that does not read is disconnected, as Redis does it; the others get everything.
func TestNeverReadsRedis(t *testing.T) {
	const messages, size = 3000, 1000
	d := testdaemon.Start(t, testdaemon.Config{TOML: small})
	b := watch(t, d)
	slow, quick, publisher := d.Dial(t), d.Dial(t), d.Dial(t)
	slow.Do("SUBSCRIBE", "flood")
	quick.Do("PSUBSCRIBE", "fl*")
	both := 0
	for i := range messages {
		switch got := publisher.Do("PUBLISH", "flood", strings.Repeat("x", size)); got {
		case ":2\r\n":
			if both != i {
				t.Fatalf("message %d reached it, after it was ended", i)
			}
			both++
		case ":1\r\n":
		default:
			t.Fatalf("message %d: got %q", i, got)
		}
		if got := bulks(quick.Frame()); got[0] != "pmessage" {
			t.Fatalf("message %d came as %q", i, got)
		}
	}
	t.Logf("disconnected after %d messages", both)
	if both == messages {
		t.Error("never disconnected")
	}
	// What the kernel had taken is still there to be read, then the end.
	for read := 0; ; read++ {
		if _, err := slow.Next(); err != nil {
			if !isEnd(err) || read > both {
				t.Errorf("after %d messages: %v", read, err)
			}
			break
		}
	}
	b.calm()
	within(t, d, 40)
}

// Who reads slowly, but reads, is told the truth, too: whatever the rhythm, what came and what is told as lost are all.
func TestReadsSlowly(t *testing.T) {
	const messages = 20_000
	d := testdaemon.Start(t, testdaemon.Config{Quick: true, TOML: small})
	b := watch(t, d)
	slow, publisher := d.Dial(t), d.Dial(t)
	slow.Do("HELLO", "3")
	for _, filter := range []string{"a/#", "a/+", "+/odd"} {
		slow.Do("BUS.SUB", filter)
	}
	done := make(chan error, 1)
	go func() {
		var batch strings.Builder
		for i := range messages {
			batch.WriteString(testdaemon.Cmd("BUS.PUB", []string{"a/even", "a/odd"}[i%2], strings.Repeat("x", 500)))
			if i%100 == 99 {
				publisher.Send(batch.String())
				batch.Reset()
				for range 100 {
					if _, err := publisher.Next(); err != nil {
						done <- err
						return
					}
				}
			}
		}
		done <- nil
	}()
	want := map[string]int{"a/#": messages, "a/+": messages, "+/odd": messages / 2}
	had := map[string]int{}
	lost := 0
	for count := 0; had["a/#"] < want["a/#"] || had["a/+"] < want["a/+"] || had["+/odd"] < want["+/odd"]; count++ {
		got := bulks(slow.Frame())
		n := 1
		if got[0] == "bus.lost" {
			n, _ = strconv.Atoi(got[2])
			lost += n
		}
		had[got[1]] += n
		if count%1000 == 0 { // a pause, as long as a command of its own takes
			slow.Send("PING\r\n")
			for {
				f, err := slow.Next()
				if err != nil {
					t.Fatal(err)
				}
				if f == "+PONG\r\n" {
					break
				}
				n, got := 1, bulks(f)
				if got[0] == "bus.lost" {
					n, _ = strconv.Atoi(got[2])
					lost += n
				}
				had[got[1]] += n
			}
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for filter, n := range want {
		if had[filter] != n {
			t.Errorf("%s: %d delivered or lost, %d published", filter, had[filter], n)
		}
	}
	t.Logf("%d of %d lost", lost, messages*5/2)
	b.calm()
}

// A peer that sends commands and closes at once has them executed: it may have said all that it had to.
func TestSendsAndCloses(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	listener := d.Dial(t)
	listener.Do("SUBSCRIBE", "last/words")
	for i := range 200 {
		p := d.Dial(t)
		p.Send(testdaemon.Cmd("PUBLISH", "last/words", strconv.Itoa(i)))
		_ = p.Close()
		if got := bulks(listener.Frame()); got[2] != strconv.Itoa(i) {
			t.Fatalf("got %q, want message %d", got, i)
		}
	}
}
