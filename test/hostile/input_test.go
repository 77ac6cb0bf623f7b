package hostile

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/test/testdaemon"
)

const limits = "[limits]\ninput = \"64KiB\"\noutput = \"256KiB\"\narguments = 100\n"

// What is no RESP, or too much of it, is answered with a protocol error and the end.
func TestNoSense(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{TOML: limits})
	b := watch(t, d)
	words := func(n int) string { return fmt.Sprintf("*%d\r\n", n) + strings.Repeat("$1\r\na\r\n", n) }
	for name, input := range map[string]string{
		"no length":             "*\r\n",
		"no number":             "*x\r\n",
		"a number too large":    "*99999999999999999999\r\n",
		"a long number":         "*" + strings.Repeat("1", 70_000),
		"no end of number":      "*1\n$4\r\nPING\r\n",
		"no bulk string":        "*1\r\nPING\r\n",
		"nested":                strings.Repeat("*1\r\n", 10_000),
		"nested in a command":   "*2\r\n$4\r\nPING\r\n*1\r\n$1\r\na\r\n",
		"a map":                 "*1\r\n%1\r\n$1\r\na\r\n$1\r\nb\r\n",
		"a null":                "*1\r\n$-1\r\n",
		"less than a null":      "*1\r\n$-2\r\n",
		"bulk string too large": "*1\r\n$65536\r\n",
		"much too large":        "*1\r\n$999999999\r\n",
		"in all too large":      "*3\r\n$30000\r\n" + strings.Repeat("a", 30_000) + "\r\n$30000\r\n" + strings.Repeat("a", 30_000) + "\r\n$30000\r\n",
		"no CRLF at the end":    "*1\r\n$4\r\nPINGPING",
		"too many words":        words(101),
		"far too many words":    "*999999999\r\n",
		"too many inline words": strings.Repeat("a ", 101) + "\r\n",
		"an endless line":       strings.Repeat("a", 100_000),
		"an endless line of \n": strings.Repeat(" ", 100_000),
		"quotes":                "PING \"a\r\n",
		"more quotes":           "PING 'a'b\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := d.Dial(t)
			p.Send(testdaemon.Cmd("PING", "before"))
			_, _ = io.WriteString(p.UnixConn, input) // what is behind the error may be left unread
			p.Want("$6\r\nbefore\r\n")
			if got := p.Frame(); !strings.HasPrefix(got, "-ERR Protocol error: ") {
				t.Errorf("got %q", got)
			}
			if got, err := p.Next(); !isEnd(err) {
				t.Errorf("then %q and %v", got, err)
			}
		})
	}
	b.calm()
	within(t, d, 40)
}

// What is just within the limits is no error.
func TestLimitsAreReached(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{TOML: limits})
	p := d.Dial(t)
	frame := testdaemon.Cmd("ECHO", strings.Repeat("a", 65_000))
	text := strings.Repeat("a", 65_000+65_536-len(frame))
	if frame = testdaemon.Cmd("ECHO", text); len(frame) != 65_536 {
		t.Fatalf("a frame of %d bytes", len(frame))
	}
	for range 3 {
		p.Send(frame)
		p.Want(fmt.Sprintf("$%d\r\n%s\r\n", len(text), text))
	}
	line := "PING " + strings.Repeat("b", 65_500) + "\r\n"
	p.Send(line)
	p.Want(fmt.Sprintf("$%d\r\n%s\r\n", 65_500, strings.Repeat("b", 65_500)))
	many := make([]string, 100)
	for i := range many {
		many[i] = "x"
	}
	many[0] = "UNSUBSCRIBE"
	p.Send(testdaemon.Cmd(many...))
	for range 99 {
		p.Want("*3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:0\r\n")
	}
	p.Send(strings.Repeat("\r\n*0\r\n \r\n", 100_000) + "PING\r\n")
	p.Want("+PONG\r\n")
}

// A command that stops in the middle is no command, wherever it stops.
func TestTruncated(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	b := watch(t, d)
	for _, input := range []string{
		"PING hello\r\n",
		testdaemon.Cmd("PUBLISH", "never", "sent"),
		testdaemon.Cmd("LOCK.ACQUIRE", "never"),
	} {
		for n := range input[1:] {
			p := d.Dial(t)
			p.Send("PING\r\n" + input[:n+1])
			if err := p.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			p.Want("+PONG\r\n")
			if input[n] == '\n' && n == len(input)-1 {
				t.Fatal("the whole command")
			}
			p.WantEnd()
		}
		// And with a hang-up instead of a half-close.
		for n := range input[1:] {
			p := d.Dial(t)
			p.Send(input[:n+1])
			_ = p.Close()
		}
	}
	p := d.Dial(t)
	settled(t, p, 2)
	p.Want() // nothing is left to be read
	if n := status(t, p, "messages_published"); n != 0 {
		t.Errorf("%d messages published", n)
	}
	if n := status(t, p, "locks_granted"); n != 0 {
		t.Errorf("%d locks granted", n)
	}
	b.calm()
}

// One byte at a time is slow, for the one who does it.
func TestDribble(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	b := watch(t, d)
	p := d.Dial(t)
	input := "PING 'a b'\r\n" + testdaemon.Cmd("ECHO", "hello\r\nworld") + testdaemon.Cmd("PUBLISH", "a/b", "") +
		testdaemon.Cmd("HELLO", "2", "SETNAME", "dribble") + "\r\n" + testdaemon.Cmd("CLIENT", "GETNAME")
	for i := range 20 {
		for i := range len(input) {
			p.Send(input[i : i+1])
		}
		p.Want("$3\r\na b\r\n", "$12\r\nhello\r\nworld\r\n", ":0\r\n")
		if got := p.Frame(); !strings.Contains(got, "ipcd") {
			t.Errorf("%d: HELLO: got %q", i, got)
		}
		p.Want("$7\r\ndribble\r\n")
	}
	b.calm()
}

// Bytes without any sense, and sense with bytes changed. The seed is fixed: what fails once fails again.
func TestNoise(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{TOML: limits})
	b := watch(t, d)
	r := rand.New(rand.NewPCG(1, 2))
	sense := []byte(testdaemon.Cmd("HELLO", "3") + testdaemon.Cmd("SUBSCRIBE", "a", "b") + testdaemon.Cmd("PSUBSCRIBE", "*") +
		testdaemon.Cmd("BUS.SUB", "+/#") + testdaemon.Cmd("PUBLISH", "a", "hello") + testdaemon.Cmd("LOCK.ACQUIRE", "l", "WAIT", "0") +
		testdaemon.Cmd("LOCK.RELEASE", "l") + "CLIENT LIST\r\nRESET\r\n" + testdaemon.Cmd("CLIENT", "KILL", "ID", "0"))
	var sent int
	for i := range 2000 {
		var input []byte
		if i%4 == 0 {
			input = make([]byte, r.IntN(4000))
			for i := range input {
				input[i] = byte(r.Uint32())
			}
		} else {
			input = bytes.Repeat(sense, 1+r.IntN(3))
			for n := 1 + r.IntN(8); n > 0 && len(input) > 0; n-- {
				switch at := r.IntN(len(input)); r.IntN(4) {
				case 0:
					input[at] = byte(r.Uint32())
				case 1:
					input = append(input[:at], input[at+1:]...)
				case 2:
					input[at] = "*$:+-%>#_,\r\n\"'\x00\xff0123456789"[r.IntN(26)]
				case 3:
					input = input[:at+1]
				}
			}
		}
		p := d.Dial(t)
		_ = p.SetDeadline(time.Now().Add(patience))
		n, _ := p.Write(input)
		sent += n
		if i%2 == 0 {
			_ = p.CloseWrite()
			if _, err := io.Copy(io.Discard, p); err != nil && !isEnd(err) {
				t.Fatalf("%d: %v, after %q", i, err, input)
			}
		}
		_ = p.Close()
	}
	p := d.Dial(t)
	settled(t, p, 2)
	t.Logf("%d bytes of noise", sent)
	for _, key := range []string{"subscriptions", "locks_held", "locks_waiting"} {
		eventually(t, key+" are gone", func() bool { return status(t, p, key) == 0 }) // some wait for the end of a process
	}
	b.calm()
	within(t, d, 60)
}
