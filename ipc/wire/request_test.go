package wire_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// parse takes all commands out of what arrives in pieces, as a reader with one buffer does.
func parse(limits wire.Limits, pieces ...string) (commands [][]string, err error) {
	p := wire.RequestParser{Limits: limits}
	var buf []byte
	var words [][]byte
	for _, piece := range pieces {
		// A buffer of its own for each round: the parser must not keep slices of the one before.
		buf = append(append(make([]byte, 0, len(buf)+len(piece)), buf...), piece...)
		for {
			var n int
			words, n, err = p.Next(buf, words)
			if err != nil {
				return commands, err
			}
			if n == 0 {
				if needs := p.Needs(buf); needs > limits.Frame {
					return commands, fmt.Errorf("needs %d bytes, over the limit", needs)
				}
				break
			}
			if len(words) > 0 {
				commands = append(commands, toStrings(words))
			}
			buf = buf[n:]
		}
	}
	return commands, nil
}

func toStrings(words [][]byte) []string {
	s := make([]string, len(words))
	for i, w := range words {
		s[i] = string(w)
	}
	return s
}

// singles cuts a stream into single bytes.
func singles(stream string) []string {
	pieces := make([]string, len(stream))
	for i := range pieces {
		pieces[i] = stream[i : i+1]
	}
	return pieces
}

func TestRequest(t *testing.T) {
	small := wire.Limits{Frame: 64, Words: 4}
	for _, c := range []struct {
		in   string
		want [][]string
		err  string
	}{
		{in: "*1\r\n$4\r\nPING\r\n", want: [][]string{{"PING"}}},
		{in: "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", want: [][]string{{"ECHO", ""}}},
		{in: "*2\r\n$1\r\na\r\n$4\r\n\r\n\x00\xff\r\n", want: [][]string{{"a", "\r\n\x00\xff"}}},
		{in: "*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n", want: [][]string{{"a"}, {"b"}}},
		{in: "*0\r\n*-1\r\n*1\r\n$1\r\na\r\n", want: [][]string{{"a"}}},
		{in: "PING\r\n", want: [][]string{{"PING"}}},
		{in: "PING\n\r\n \t\n*1\r\n$1\r\na\r\nb c\n", want: [][]string{{"PING"}, {"a"}, {"b", "c"}}},
		{in: "*1\r\n$1", want: nil},
		{in: "", want: nil},

		{in: "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n", want: [][]string{{"a", "b", "c", "d"}}},
		{in: "*5\r\n", err: "more than the limit of"},
		{in: "a b c d\n", want: [][]string{{"a", "b", "c", "d"}}},
		{in: "a b c d e\n", err: "more than the limit of"},
		{in: "*1\r\n$53\r\n" + strings.Repeat("x", 53) + "\r\n", want: [][]string{{strings.Repeat("x", 53)}}},
		{in: "*1\r\n$54\r\n", err: "larger than the limit"}, // 4 + 5 + 54 + 2 = 65
		{in: "*1\r\n$999999999\r\n", err: "larger than the limit"},
		{in: strings.Repeat("x", 65), err: "larger than the limit"},
		{in: strings.Repeat("x", 65) + "\n", err: "larger than the limit"},

		{in: "*\r\n", err: "invalid multibulk length"},
		{in: "*-\r\n", err: "invalid multibulk length"},
		{in: "*x\r\n", err: "invalid multibulk length"},
		{in: "*1 \r\n", err: "invalid multibulk length"},
		{in: "*+1\r\n", err: "invalid multibulk length"},
		{in: "*1\r ", err: "invalid multibulk length"},
		{in: "*1\n$", err: "invalid multibulk length"},
		{in: "*9999999999\r\n", err: "invalid multibulk length"},
		{in: "*1\r\n$-1\r\n", err: "invalid bulk length"},
		{in: "*1\r\n:1\r\n", err: "expected '$'"},
		{in: "*1\r\nPING\r\n", err: "expected '$'"},
		{in: "*1\r\n*1\r\n$1\r\na\r\n", err: "expected '$'"},
		{in: "*1\r\n$1\r\nab\r\n", err: "expected CR LF"},
		{in: "*1\r\n$1\r\na\r ", err: "expected CR LF"},
		{in: "a \"b\n", err: "unbalanced quotes"},
	} {
		for how, pieces := range map[string][]string{"whole": {c.in}, "split": singles(c.in)} {
			got, err := parse(small, pieces...)
			if !slices.EqualFunc(got, c.want, slices.Equal) {
				t.Errorf("%s, %q: %q, want %q", how, c.in, got, c.want)
			}
			checkProtoError(t, fmt.Sprintf("%s, %q", how, c.in), err, c.err)
		}
	}
}

func checkProtoError(t *testing.T, what string, err error, want string) {
	t.Helper()
	var proto *wire.ProtoError
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (!errors.As(err, &proto) || !strings.Contains(proto.Reason, want)):
		t.Errorf("%s: error %v, want %q", what, err, want)
	}
}

// A frame cut anywhere is neither a command nor an error, and nothing of it is taken.
func TestRequestTruncated(t *testing.T) {
	for _, frame := range []string{
		string(wire.AppendCommand(nil, "BUS.PUB", "a/b", "\r\n*1\r\n$4\r\nPING\r\n")),
		"BUS.PUB a/b \"c\\x20d\"\r\n",
	} {
		for cut := range len(frame) {
			p := wire.RequestParser{Limits: wire.DefaultLimits}
			words, n, err := p.Next([]byte(frame[:cut]), nil)
			if n != 0 || len(words) != 0 || err != nil {
				t.Errorf("%q: %q, %d, %v", frame[:cut], words, n, err)
			}
		}
	}
}

// What is missing of a large word is known as soon as its length is.
func TestRequestNeeds(t *testing.T) {
	frame := string(wire.AppendCommand(nil, "ECHO", strings.Repeat("x", 1000)))
	for cut := range len(frame) {
		p := wire.RequestParser{Limits: wire.DefaultLimits}
		if _, n, err := p.Next([]byte(frame[:cut]), nil); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		want := 0
		switch {
		case cut >= len("*2\r\n$4\r\nECHO\r\n$1000\r\n"):
			want = len(frame)
		case cut >= len("*2\r\n$4\r\n") && cut < len("*2\r\n$4\r\nECHO\r\n"):
			want = len("*2\r\n$4\r\nECHO\r\n")
		}
		if got := p.Needs([]byte(frame[:cut])); got != want {
			t.Errorf("%q: needs %d, want %d", frame[:cut], got, want)
		}
	}
}

// The words of a command end where they end: to append to one must not write over the next.
func TestRequestWordsAreCapped(t *testing.T) {
	for _, frame := range []string{"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "a b\n"} {
		p := wire.RequestParser{Limits: wire.DefaultLimits}
		words, _, err := p.Next([]byte(frame), nil)
		if err != nil || len(words) != 2 {
			t.Fatal(words, err)
		}
		_ = append(words[0], "xxxxxxxx"...)
		if string(words[1]) != "b" {
			t.Errorf("%q: the second word became %q", frame, words[1])
		}
	}
}

// Frames are parsed in place: neither reading a command nor writing a reply allocates.
func TestCodecDoesNotAllocate(t *testing.T) {
	payload := strings.Repeat("x", 64)
	pipeline := []byte(strings.Repeat(string(wire.AppendCommand(nil, "BUS.PUB", "a/b", payload)), 16) + "PING now\r\n")
	p := wire.RequestParser{Limits: wire.DefaultLimits}
	words := make([][]byte, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		for buf := pipeline; len(buf) > 0; {
			w, n, err := p.Next(buf, words)
			if n == 0 || err != nil {
				t.Fatal(n, err)
			}
			words, buf = w, buf[n:]
		}
	}); n != 0 {
		t.Errorf("parsing 17 commands: %v allocations", n)
	}

	out := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { out = appendMessage(out[:0], "a/#", "a/b", payload) }); n != 0 {
		t.Errorf("appending a message: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { out = wire.AppendCommand(out[:0], "BUS.PUB", "a/b", payload) }); n != 0 {
		t.Errorf("appending a command: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { out = wire.AppendError(out[:0], wire.CodeBusy, payload) }); n != 0 {
		t.Errorf("appending an error: %v allocations", n)
	}
}

// appendMessage appends a message as the daemon pushes it.
func appendMessage(b []byte, filter, topic, payload string) []byte {
	b = wire.RESP3.AppendPush(b, 10)
	b = wire.AppendBulk(b, "bus.message")
	b = wire.AppendBulk(b, filter)
	b = wire.AppendBulk(b, topic)
	b = wire.AppendBulk(b, payload)
	b = wire.AppendInt(b, 123456)
	b = wire.AppendInt(b, 1795401234567890)
	b = wire.AppendInt(b, 4121)
	b = wire.AppendInt(b, 1000)
	b = wire.AppendBulk(b, "backup.service")
	return wire.AppendInt(b, 12)
}

func BenchmarkRequest(b *testing.B) {
	for name, frame := range map[string]string{
		"ping":        string(wire.AppendCommand(nil, "PING")),
		"publish64":   string(wire.AppendCommand(nil, "PUBLISH", "a/b", strings.Repeat("x", 64))),
		"pipeline16":  strings.Repeat(string(wire.AppendCommand(nil, "PUBLISH", "a/b", strings.Repeat("x", 64))), 16),
		"inline-ping": "PING\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			p := wire.RequestParser{Limits: wire.DefaultLimits}
			words := make([][]byte, 0, 8)
			stream := []byte(frame)
			b.ReportAllocs()
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				for buf := stream; len(buf) > 0; {
					var n int
					words, n, _ = p.Next(buf, words)
					buf = buf[n:]
				}
			}
		})
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	payload := strings.Repeat("x", 64)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = appendMessage(out[:0], "a/#", "a/b", payload)
	}
}

// TestWholeAsInParts: what is there from end to end is cut, or refused, as what comes byte by byte.
func TestWholeAsInParts(t *testing.T) {
	for _, frame := range []string{
		"*1\r\n$4\r\nPING\r\n", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "*2\r\n$4\r\nECHO\r\n$11\r\nhello world\r\n", "*2\r\n$4\r\nECHO\r\n$0011\r\nhello world\r\n",
		"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n", "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n", // the second has too many words
		"*2\r\n$4\r\nECHO\r\n$14\r\n12345678901234\r\n", "*2\r\n$4\r\nECHO\r\n$15\r\n123456789012345\r\n", // the second is too long by a byte
		"*1\r\n$4\rxPING\r\n", "*1\r\n$4\r\nPINGx\n", "*1\r\n$4\r\nPING\rx", "*1\r\n$\r\nPING\r\n", "*1\r\n$\r\n\r\n", "*1\r\n$4x\r\nPING\r\n", "*1\r\n$-1\r\n", "*1\r\n:4\r\n",
		"*0\r\n", "*-1\r\n", "*1\rx$4\r\nPING\r\n", "*x\r\n", "*1\r\n$99999999\r\n",
	} {
		limits := wire.Limits{Frame: 35, Words: 3}
		whole, parts := wire.RequestParser{Limits: limits}, wire.RequestParser{Limits: limits}
		words, n, err := whole.Next([]byte(frame), nil)
		var inParts [][]byte
		var taken int
		var refused error
		for end := 1; end <= len(frame) && taken == 0 && refused == nil; end++ {
			inParts, taken, refused = parts.Next([]byte(frame)[:end], nil)
		}
		if fmt.Sprintf("%q %d %v", words, n, err) != fmt.Sprintf("%q %d %v", inParts, taken, refused) {
			t.Errorf("%q is %q, %d bytes, %v; in parts it is %q, %d bytes, %v", frame, words, n, err, inParts, taken, refused)
		}
	}
}
