package wire_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ipcd/ipcd/ipc/wire"
)

func decode(stream string, limits wire.Limits) (wire.Value, error) {
	return wire.NewDecoder(strings.NewReader(stream), limits).Decode()
}

// Short forms of values.
func bulk(s string) wire.Value  { return wire.Value{Kind: wire.KindBulk, Str: s} }
func number(n int64) wire.Value { return wire.Value{Kind: wire.KindInt, Int: n} }
func aggregate(kind wire.Kind, elems ...wire.Value) wire.Value {
	if elems == nil {
		elems = []wire.Value{}
	}
	return wire.Value{Kind: kind, Elems: elems}
}

func TestDecode(t *testing.T) {
	null := wire.Value{Kind: wire.KindNull}
	for _, c := range []struct {
		in   string
		want wire.Value
		text string
	}{
		{"+OK\r\n", wire.Value{Kind: wire.KindSimple, Str: "OK"}, "OK"},
		{"+\r\n", wire.Value{Kind: wire.KindSimple}, ""},
		{"-BUSY no\r\n", wire.Value{Kind: wire.KindError, Str: "BUSY no"}, "BUSY no"},
		{":0\r\n", number(0), "0"},
		{":-9223372036854775808\r\n", number(math.MinInt64), "-9223372036854775808"},
		{":+7\r\n", number(7), "7"},
		{"$0\r\n\r\n", bulk(""), ""},
		{"$4\r\n\r\n\x00\xff\r\n", bulk("\r\n\x00\xff"), "\r\n\x00\xff"},
		{"$-1\r\n", null, ""},
		{"*-1\r\n", null, ""},
		{"_\r\n", null, ""},
		{"#t\r\n", wire.Value{Kind: wire.KindBool, Int: 1}, "true"},
		{"#f\r\n", wire.Value{Kind: wire.KindBool}, "false"},
		{",1.5\r\n", wire.Value{Kind: wire.KindDouble, Float: 1.5}, "1.5"},
		{",-inf\r\n", wire.Value{Kind: wire.KindDouble, Float: math.Inf(-1)}, "-Inf"},
		{"(123456789012345678901234567890\r\n", wire.Value{Kind: wire.KindBigInt, Str: "123456789012345678901234567890"}, "123456789012345678901234567890"},
		{"!8\r\nBUSY a\nb\r\n", wire.Value{Kind: wire.KindError, Str: "BUSY a\nb"}, "BUSY a\nb"},
		{"=6\r\ntxt:hi\r\n", wire.Value{Kind: wire.KindVerbatim, Str: "hi"}, "hi"},
		{"*0\r\n", aggregate(wire.KindArray), ""},
		{"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", aggregate(wire.KindArray, number(1), aggregate(wire.KindArray, bulk("a"))), ""},
		{"%1\r\n+a\r\n:1\r\n", aggregate(wire.KindMap, wire.Value{Kind: wire.KindSimple, Str: "a"}, number(1)), ""},
		{"~1\r\n:1\r\n", aggregate(wire.KindSet, number(1)), ""},
		{">1\r\n:1\r\n", aggregate(wire.KindPush, number(1)), ""},
		{"|1\r\n+ttl\r\n:1\r\n:2\r\n", number(2), "2"}, // an attribute is dropped
		{"*1\r\n|1\r\n+ttl\r\n:1\r\n:2\r\n", aggregate(wire.KindArray, number(2)), ""},
	} {
		got, err := decode(c.in, wire.DefaultLimits)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v, want %+v", c.in, got, err, c.want)
		}
		if got.Text() != c.text {
			t.Errorf("%q: text %q, want %q", c.in, got.Text(), c.text)
		}
		if got.IsNull() != (got.Kind == wire.KindNull) {
			t.Errorf("%q: IsNull is %v", c.in, got.IsNull())
		}
		d := wire.NewDecoder(iotest.OneByteReader(strings.NewReader(c.in+c.in)), wire.DefaultLimits)
		for range 2 {
			if again, err := d.Decode(); err != nil || !reflect.DeepEqual(again, got) {
				t.Errorf("%q, byte by byte: %+v, %v", c.in, again, err)
			}
		}
		if _, err := d.Decode(); !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v at the end, want EOF", c.in, err)
		}
		for cut := 1; cut < len(c.in); cut++ {
			if got, err := decode(c.in[:cut], wire.DefaultLimits); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %+v, %v, want an unexpected EOF", c.in[:cut], got, err)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	small := wire.Limits{Frame: 64, Words: 4, Depth: 2}
	for _, c := range []struct{ in, want string }{
		{"\r\n", "malformed"},
		{"\n", "malformed"},
		{"+OK\n", "malformed"},
		{"?\r\n", "unknown type"},
		{"PONG\r\n", "unknown type"},
		{":\r\n", "malformed"},
		{":1x\r\n", "malformed"},
		{":9223372036854775808\r\n", "malformed"},
		{"#x\r\n", "malformed"},
		{"_x\r\n", "malformed"},
		{",x\r\n", "malformed"},
		{"$\r\n", "invalid bulk length"},
		{"$x\r\n", "invalid bulk length"},
		{"$-2\r\n", "invalid bulk length"},
		{"$?\r\n", "invalid bulk length"},
		{"*?\r\n", "invalid bulk length"},
		{"!-1\r\n", "invalid bulk length"},
		{"=-1\r\n", "invalid bulk length"},
		{"%-1\r\n", "invalid bulk length"},
		{"~-1\r\n", "invalid bulk length"},
		{">-1\r\n", "invalid bulk length"},
		{"|-1\r\n", "invalid bulk length"},
		{"$1\r\nab\r\n", "expected CR LF"},
		{"=3\r\ntxt\r\n", "malformed"},
		{"=4\r\ntext\r\n", "malformed"},
		{"*1\r\n?\r\n", "unknown type"},

		{"*5\r\n", "more elements"},
		{"%5\r\n", "more elements"},
		{"*1\r\n*1\r\n*1\r\n:1\r\n", "nested deeper"},
		{"|0\r\n|0\r\n|0\r\n:1\r\n", "nested deeper"},
		{"+" + strings.Repeat("x", 64) + "\r\n", "larger than the limit"},
		{"$60\r\n", "larger than the limit"},
		{"$2147483647\r\n", "larger than the limit"},
		{"*2\r\n$40\r\n" + strings.Repeat("x", 40) + "\r\n$10\r\n", "larger than the limit"},
	} {
		_, err := decode(c.in, small)
		checkProtoError(t, strconv.Quote(c.in), err, c.want)
	}
	_, err := decode("+"+strings.Repeat("x", 1<<17)+"\r\n", wire.DefaultLimits)
	checkProtoError(t, "a long line", err, "larger than the limit")
}

// What a head promises costs nothing before it arrives.
func TestDecodeMemory(t *testing.T) {
	limits := wire.Limits{Frame: 1 << 30, Words: 1 << 24, Depth: 16}
	for _, head := range []string{
		"$1000000000\r\n",
		"*16777216\r\n",
		strings.Repeat("*16777216\r\n", 16),
	} {
		size := allocated(func() {
			if _, err := decode(head, limits); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %v", head, err)
			}
		})
		if size > 2<<20 {
			t.Errorf("%q: %d bytes allocated", head, size)
		}
	}
}

func TestDecodeLarge(t *testing.T) {
	for _, size := range []int{16<<10 - 2, 16<<10 - 1, 16 << 10, 16<<10 + 1, 3 << 20} {
		text := strings.Repeat("0123456789", size/10+1)[:size]
		stream := string(wire.AppendBulk(nil, text))
		got, err := decode(stream+":1\r\n", wire.Limits{Frame: len(stream)})
		if err != nil || got.Str != text {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got.Str), err)
		}
		if _, err := decode(stream[:len(stream)-1], wire.Limits{Frame: len(stream)}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes, cut: %v", size, err)
		}
		if _, err := decode(stream[:len(stream)-2]+"xx", wire.Limits{Frame: len(stream)}); err == nil {
			t.Errorf("%d bytes without CR LF: no error", size)
		}
	}
}

func TestDecoderWait(t *testing.T) {
	d := wire.NewDecoder(strings.NewReader(":1\r\n:2\r\n"), wire.DefaultLimits)
	for n := range 2 {
		if err := d.Wait(); err != nil || d.Buffered() != 8-4*n {
			t.Fatal(err, d.Buffered())
		}
		if v, err := d.Decode(); err != nil || v.Int != int64(n+1) {
			t.Fatal(v, err)
		}
	}
	if err := d.Wait(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestValueGet(t *testing.T) {
	for _, proto := range []wire.Proto{wire.RESP2, wire.RESP3} {
		b := proto.AppendMap(nil, 2)
		b = wire.AppendBulk(b, "token")
		b = wire.AppendInt(b, 7)
		b = wire.AppendBulk(b, "previous")
		b = proto.AppendNull(b)
		v, err := decode(string(b), wire.DefaultLimits)
		if err != nil || v.Get("token").Int != 7 || !v.Get("previous").IsNull() || !v.Get("none").IsNull() {
			t.Errorf("RESP%d: %+v, %v", proto, v, err)
		}
	}
	if !(wire.Value{}).IsNull() || !number(1).Get("x").IsNull() {
		t.Error("a value that is not there is no null")
	}
}

// TestLongError: an error has at most MaxErrorText bytes of text, which end between two characters, so that every decoder takes it.
func TestLongError(t *testing.T) {
	const most = wire.MaxErrorText
	for _, c := range []struct{ text, want string }{
		{strings.Repeat("x", most), strings.Repeat("x", most)},
		{strings.Repeat("x", most+1), strings.Repeat("x", most-3) + "…"},
		{strings.Repeat("x", 1<<20), strings.Repeat("x", most-3) + "…"},
		{strings.Repeat("x", most-4) + "€€", strings.Repeat("x", most-4) + "…"},
		{strings.Repeat("x", most-3) + "€", strings.Repeat("x", most-3) + "€"},
		{strings.Repeat("\x00", most), strings.Repeat(`\x00`, most/4-1) + `\…`},
		{strings.Repeat("x", most-1) + "€", strings.Repeat("x", most-3) + "…"},
	} {
		line := wire.AppendError(nil, wire.CodeErr, c.text)
		v, err := decode(string(line), wire.DefaultLimits)
		if err != nil || v.Str != "ERR "+c.want {
			t.Errorf("%d bytes: %v, got %d ending with %q", len(c.text), err, len(v.Str), v.Str[max(len(v.Str)-20, 0):])
		}
	}
}

// Everything that is appended can be decoded; RESP2 knows fewer kinds.
func TestAppend(t *testing.T) {
	for _, c := range []struct {
		name         string
		append       func(p wire.Proto, b []byte) []byte
		resp2, resp3 string
	}{
		{"simple", func(_ wire.Proto, b []byte) []byte { return wire.AppendSimple(b, "OK") }, "+OK\r\n", "+OK\r\n"},
		{"error", func(_ wire.Proto, b []byte) []byte {
			return wire.AppendError(b, wire.CodeErr, "a\r\nb\x7fé\u202e\xff")
		}, `-ERR a\r\nb\x7fé\u202e\xff` + "\r\n", `-ERR a\r\nb\x7fé\u202e\xff` + "\r\n"},
		{"int", func(_ wire.Proto, b []byte) []byte { return wire.AppendInt(b, math.MinInt64) }, ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"},
		{"bulk", func(_ wire.Proto, b []byte) []byte { return wire.AppendBulk(b, "\r\n") }, "$2\r\n\r\n\r\n", "$2\r\n\r\n\r\n"},
		{"bytes", func(_ wire.Proto, b []byte) []byte { return wire.AppendBulk(b, []byte("0123456789")) }, "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n"},
		{"array", func(_ wire.Proto, b []byte) []byte { return wire.AppendArray(b, 0) }, "*0\r\n", "*0\r\n"},
		{"map", func(p wire.Proto, b []byte) []byte { return wire.AppendInt(wire.AppendInt(p.AppendMap(b, 1), 1), 2) }, "*2\r\n:1\r\n:2\r\n", "%1\r\n:1\r\n:2\r\n"},
		{"set", func(p wire.Proto, b []byte) []byte { return wire.AppendInt(p.AppendSet(b, 1), 1) }, "*1\r\n:1\r\n", "~1\r\n:1\r\n"},
		{"push", func(p wire.Proto, b []byte) []byte { return wire.AppendInt(p.AppendPush(b, 1), 1) }, "*1\r\n:1\r\n", ">1\r\n:1\r\n"},
		{"null", wire.Proto.AppendNull, "$-1\r\n", "_\r\n"},
		{"null array", wire.Proto.AppendNullArray, "*-1\r\n", "_\r\n"},
		{"verbatim", func(p wire.Proto, b []byte) []byte { return p.AppendVerbatim(b, "hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
	} {
		for proto, want := range map[wire.Proto]string{wire.RESP2: c.resp2, wire.RESP3: c.resp3} {
			got := c.append(proto, []byte("before "))
			if string(got) != "before "+want {
				t.Errorf("%s, RESP%d: %q, want %q", c.name, proto, got, want)
			}
			if _, err := decode(want, wire.DefaultLimits); err != nil {
				t.Errorf("%s, RESP%d: %v", c.name, proto, err)
			}
		}
	}
}

// encode writes a value as RESP3, the inverse of Decode.
func encode(b *bytes.Buffer, v wire.Value) {
	head := func(kind wire.Kind, n int) { b.WriteString(string(rune(kind)) + strconv.Itoa(n) + "\r\n") }
	switch v.Kind {
	case wire.KindSimple, wire.KindBigInt:
		b.WriteString(string(rune(v.Kind)) + v.Str + "\r\n")
	case wire.KindError:
		head(wire.KindBulkErr, len(v.Str))
		b.WriteString(v.Str + "\r\n")
	case wire.KindInt:
		b.Write(wire.AppendInt(nil, v.Int))
	case wire.KindBulk:
		b.Write(wire.AppendBulk(nil, v.Str))
	case wire.KindVerbatim:
		b.Write(wire.RESP3.AppendVerbatim(nil, v.Str))
	case wire.KindNull:
		b.Write(wire.RESP3.AppendNull(nil))
	case wire.KindBool:
		b.WriteString("#" + v.Text()[:1] + "\r\n")
	case wire.KindDouble:
		b.WriteString("," + v.Text() + "\r\n")
	case wire.KindArray, wire.KindSet, wire.KindPush, wire.KindMap:
		n := len(v.Elems)
		if v.Kind == wire.KindMap {
			n /= 2
		}
		head(v.Kind, n)
		for _, e := range v.Elems {
			encode(b, e)
		}
	}
}

func equal(a, b wire.Value) bool {
	if a.Kind == wire.KindDouble && math.IsNaN(a.Float) {
		return b.Kind == a.Kind && math.IsNaN(b.Float)
	}
	if a.Kind != b.Kind || a.Str != b.Str || a.Int != b.Int || a.Float != b.Float || len(a.Elems) != len(b.Elems) {
		return false
	}
	for i := range a.Elems {
		if !equal(a.Elems[i], b.Elems[i]) {
			return false
		}
	}
	return true
}

func BenchmarkDecode(b *testing.B) {
	for name, stream := range map[string]string{
		"ok":      "+OK\r\n",
		"receipt": "%3\r\n$3\r\nseq\r\n:12345\r\n$9\r\ndelivered\r\n:3\r\n$7\r\ndropped\r\n:0\r\n",
		"message": string(appendMessage(nil, "a/#", "a/b", strings.Repeat("x", 64))),
	} {
		b.Run(name, func(b *testing.B) {
			d := wire.NewDecoder(&endless{stream: stream}, wire.DefaultLimits)
			b.ReportAllocs()
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				if _, err := d.Decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+" into", func(b *testing.B) {
			d := wire.NewDecoder(&endless{stream: stream}, wire.DefaultLimits)
			var v wire.Value
			b.ReportAllocs()
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				if err := d.DecodeInto(&v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What is read into a value that was used before leaves no mark of what that was, and needs no memory for what is the same.
func TestDecodeInto(t *testing.T) {
	var v wire.Value
	stream := "*3\r\n$3\r\nfoo\r\n*1\r\n:1\r\n,1.5\r\n" + "*2\r\n$3\r\nbar\r\n_\r\n" + "+OK\r\n" + "*3\r\n:1\r\n:2\r\n#t\r\n" + "*0\r\n"
	reusing, fresh := wire.NewDecoder(strings.NewReader(stream), wire.DefaultLimits), wire.NewDecoder(strings.NewReader(stream), wire.DefaultLimits)
	var kept []string
	for range 5 {
		want, err := fresh.Decode()
		if err == nil {
			err = reusing.DecodeInto(&v)
		}
		if err != nil || !equal(v, want) {
			t.Errorf("%+v, %v, want %+v", v, err, want)
		}
		if len(v.Elems) > 0 {
			kept = append(kept, v.Elems[0].Str)
		}
	}
	if want := []string{"foo", "bar", ""}; !reflect.DeepEqual(kept, want) {
		t.Errorf("strings that were kept became %q, want %q", kept, want)
	}
	d := wire.NewDecoder(&endless{stream: "%1\r\n$3\r\nseq\r\n:12345\r\n"}, wire.DefaultLimits)
	if n := testing.AllocsPerRun(100, func() { _ = d.DecodeInto(&v) }); n != 0 {
		t.Errorf("%v allocations for what is the same", n)
	}
}

// endless repeats a stream.
type endless struct {
	stream string
	at     int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		m := copy(p[n:], e.stream[e.at:])
		n += m
		e.at = (e.at + m) % len(e.stream)
	}
	return n, nil
}
