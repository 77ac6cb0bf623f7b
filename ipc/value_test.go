package ipc_test

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

	"github.com/ipcd/ipcd/ipc"
)

func decode(stream string, limits ipc.Limits) (ipc.Value, error) {
	return ipc.NewDecoder(strings.NewReader(stream), limits).Decode()
}

// Short forms of values.
func bulk(s string) ipc.Value  { return ipc.Value{Kind: ipc.KindBulk, Str: s} }
func number(n int64) ipc.Value { return ipc.Value{Kind: ipc.KindInt, Int: n} }
func aggregate(kind ipc.Kind, elems ...ipc.Value) ipc.Value {
	if elems == nil {
		elems = []ipc.Value{}
	}
	return ipc.Value{Kind: kind, Elems: elems}
}

func TestDecode(t *testing.T) {
	null := ipc.Value{Kind: ipc.KindNull}
	for _, c := range []struct {
		in   string
		want ipc.Value
		text string
	}{
		{"+OK\r\n", ipc.Value{Kind: ipc.KindSimple, Str: "OK"}, "OK"},
		{"+\r\n", ipc.Value{Kind: ipc.KindSimple}, ""},
		{"-BUSY no\r\n", ipc.Value{Kind: ipc.KindError, Str: "BUSY no"}, "BUSY no"},
		{":0\r\n", number(0), "0"},
		{":-9223372036854775808\r\n", number(math.MinInt64), "-9223372036854775808"},
		{":+7\r\n", number(7), "7"},
		{"$0\r\n\r\n", bulk(""), ""},
		{"$4\r\n\r\n\x00\xff\r\n", bulk("\r\n\x00\xff"), "\r\n\x00\xff"},
		{"$-1\r\n", null, ""},
		{"*-1\r\n", null, ""},
		{"_\r\n", null, ""},
		{"#t\r\n", ipc.Value{Kind: ipc.KindBool, Int: 1}, "true"},
		{"#f\r\n", ipc.Value{Kind: ipc.KindBool}, "false"},
		{",1.5\r\n", ipc.Value{Kind: ipc.KindDouble, Float: 1.5}, "1.5"},
		{",-inf\r\n", ipc.Value{Kind: ipc.KindDouble, Float: math.Inf(-1)}, "-Inf"},
		{"(123456789012345678901234567890\r\n", ipc.Value{Kind: ipc.KindBigInt, Str: "123456789012345678901234567890"}, "123456789012345678901234567890"},
		{"!8\r\nBUSY a\nb\r\n", ipc.Value{Kind: ipc.KindError, Str: "BUSY a\nb"}, "BUSY a\nb"},
		{"=6\r\ntxt:hi\r\n", ipc.Value{Kind: ipc.KindVerbatim, Str: "hi"}, "hi"},
		{"*0\r\n", aggregate(ipc.KindArray), ""},
		{"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", aggregate(ipc.KindArray, number(1), aggregate(ipc.KindArray, bulk("a"))), ""},
		{"%1\r\n+a\r\n:1\r\n", aggregate(ipc.KindMap, ipc.Value{Kind: ipc.KindSimple, Str: "a"}, number(1)), ""},
		{"~1\r\n:1\r\n", aggregate(ipc.KindSet, number(1)), ""},
		{">1\r\n:1\r\n", aggregate(ipc.KindPush, number(1)), ""},
		{"|1\r\n+ttl\r\n:1\r\n:2\r\n", number(2), "2"}, // an attribute is dropped
		{"*1\r\n|1\r\n+ttl\r\n:1\r\n:2\r\n", aggregate(ipc.KindArray, number(2)), ""},
	} {
		got, err := decode(c.in, ipc.DefaultLimits)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v, want %+v", c.in, got, err, c.want)
		}
		if got.Text() != c.text {
			t.Errorf("%q: text %q, want %q", c.in, got.Text(), c.text)
		}
		if got.IsNull() != (got.Kind == ipc.KindNull) {
			t.Errorf("%q: IsNull is %v", c.in, got.IsNull())
		}
		d := ipc.NewDecoder(iotest.OneByteReader(strings.NewReader(c.in+c.in)), ipc.DefaultLimits)
		for range 2 {
			if again, err := d.Decode(); err != nil || !reflect.DeepEqual(again, got) {
				t.Errorf("%q, byte by byte: %+v, %v", c.in, again, err)
			}
		}
		if _, err := d.Decode(); !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v at the end, want EOF", c.in, err)
		}
		for cut := 1; cut < len(c.in); cut++ {
			if got, err := decode(c.in[:cut], ipc.DefaultLimits); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %+v, %v, want an unexpected EOF", c.in[:cut], got, err)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	small := ipc.Limits{Frame: 64, Words: 4, Depth: 2}
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
		{"$\r\n", "expected a length"},
		{"$x\r\n", "expected a length"},
		{"$-2\r\n", "expected a length"},
		{"$?\r\n", "expected a length"},
		{"*?\r\n", "expected a length"},
		{"!-1\r\n", "expected a length"},
		{"=-1\r\n", "expected a length"},
		{"%-1\r\n", "expected a length"},
		{"~-1\r\n", "expected a length"},
		{">-1\r\n", "expected a length"},
		{"|-1\r\n", "expected a length"},
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
	_, err := decode("+"+strings.Repeat("x", 1<<17)+"\r\n", ipc.DefaultLimits)
	checkProtoError(t, "a long line", err, "larger than the limit")
}

// What a head promises costs nothing before it arrives.
func TestDecodeMemory(t *testing.T) {
	limits := ipc.Limits{Frame: 1 << 30, Words: 1 << 24, Depth: 16}
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
		stream := string(ipc.AppendBulk(nil, text))
		got, err := decode(stream+":1\r\n", ipc.Limits{Frame: len(stream)})
		if err != nil || got.Str != text {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got.Str), err)
		}
		if _, err := decode(stream[:len(stream)-1], ipc.Limits{Frame: len(stream)}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes, cut: %v", size, err)
		}
		if _, err := decode(stream[:len(stream)-2]+"xx", ipc.Limits{Frame: len(stream)}); err == nil {
			t.Errorf("%d bytes without CR LF: no error", size)
		}
	}
}

func TestDecoderWait(t *testing.T) {
	d := ipc.NewDecoder(strings.NewReader(":1\r\n:2\r\n"), ipc.DefaultLimits)
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
	for _, proto := range []ipc.Proto{ipc.RESP2, ipc.RESP3} {
		b := proto.AppendMap(nil, 2)
		b = ipc.AppendBulk(b, "token")
		b = ipc.AppendInt(b, 7)
		b = ipc.AppendBulk(b, "previous")
		b = proto.AppendNull(b)
		v, err := decode(string(b), ipc.DefaultLimits)
		if err != nil || v.Get("token").Int != 7 || !v.Get("previous").IsNull() || !v.Get("none").IsNull() {
			t.Errorf("RESP%d: %+v, %v", proto, v, err)
		}
	}
	if !(ipc.Value{}).IsNull() || !number(1).Get("x").IsNull() {
		t.Error("a value that is not there is no null")
	}
}

// Everything that is appended can be decoded; RESP2 knows fewer kinds.
func TestAppend(t *testing.T) {
	for _, c := range []struct {
		name         string
		append       func(p ipc.Proto, b []byte) []byte
		resp2, resp3 string
	}{
		{"simple", func(_ ipc.Proto, b []byte) []byte { return ipc.AppendSimple(b, "OK") }, "+OK\r\n", "+OK\r\n"},
		{"error", func(_ ipc.Proto, b []byte) []byte { return ipc.AppendError(b, ipc.CodeErr, "a\r\nb\x7fé\u202e\xff") }, `-ERR a\r\nb\x7fé\u202e\xff` + "\r\n", `-ERR a\r\nb\x7fé\u202e\xff` + "\r\n"},
		{"int", func(_ ipc.Proto, b []byte) []byte { return ipc.AppendInt(b, math.MinInt64) }, ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"},
		{"bulk", func(_ ipc.Proto, b []byte) []byte { return ipc.AppendBulk(b, "\r\n") }, "$2\r\n\r\n\r\n", "$2\r\n\r\n\r\n"},
		{"bytes", func(_ ipc.Proto, b []byte) []byte { return ipc.AppendBulk(b, []byte("0123456789")) }, "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n"},
		{"array", func(_ ipc.Proto, b []byte) []byte { return ipc.AppendArray(b, 0) }, "*0\r\n", "*0\r\n"},
		{"map", func(p ipc.Proto, b []byte) []byte { return ipc.AppendInt(ipc.AppendInt(p.AppendMap(b, 1), 1), 2) }, "*2\r\n:1\r\n:2\r\n", "%1\r\n:1\r\n:2\r\n"},
		{"set", func(p ipc.Proto, b []byte) []byte { return ipc.AppendInt(p.AppendSet(b, 1), 1) }, "*1\r\n:1\r\n", "~1\r\n:1\r\n"},
		{"push", func(p ipc.Proto, b []byte) []byte { return ipc.AppendInt(p.AppendPush(b, 1), 1) }, "*1\r\n:1\r\n", ">1\r\n:1\r\n"},
		{"null", ipc.Proto.AppendNull, "$-1\r\n", "_\r\n"},
		{"null array", ipc.Proto.AppendNullArray, "*-1\r\n", "_\r\n"},
		{"verbatim", func(p ipc.Proto, b []byte) []byte { return p.AppendVerbatim(b, "hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
	} {
		for proto, want := range map[ipc.Proto]string{ipc.RESP2: c.resp2, ipc.RESP3: c.resp3} {
			got := c.append(proto, []byte("before "))
			if string(got) != "before "+want {
				t.Errorf("%s, RESP%d: %q, want %q", c.name, proto, got, want)
			}
			if _, err := decode(want, ipc.DefaultLimits); err != nil {
				t.Errorf("%s, RESP%d: %v", c.name, proto, err)
			}
		}
	}
}

// encode writes a value as RESP3, the inverse of Decode.
func encode(b *bytes.Buffer, v ipc.Value) {
	head := func(kind ipc.Kind, n int) { b.WriteString(string(rune(kind)) + strconv.Itoa(n) + "\r\n") }
	switch v.Kind {
	case ipc.KindSimple, ipc.KindBigInt:
		b.WriteString(string(rune(v.Kind)) + v.Str + "\r\n")
	case ipc.KindError:
		head(ipc.KindBulkErr, len(v.Str))
		b.WriteString(v.Str + "\r\n")
	case ipc.KindInt:
		b.Write(ipc.AppendInt(nil, v.Int))
	case ipc.KindBulk:
		b.Write(ipc.AppendBulk(nil, v.Str))
	case ipc.KindVerbatim:
		b.Write(ipc.RESP3.AppendVerbatim(nil, v.Str))
	case ipc.KindNull:
		b.Write(ipc.RESP3.AppendNull(nil))
	case ipc.KindBool:
		b.WriteString("#" + v.Text()[:1] + "\r\n")
	case ipc.KindDouble:
		b.WriteString("," + v.Text() + "\r\n")
	case ipc.KindArray, ipc.KindSet, ipc.KindPush, ipc.KindMap:
		n := len(v.Elems)
		if v.Kind == ipc.KindMap {
			n /= 2
		}
		head(v.Kind, n)
		for _, e := range v.Elems {
			encode(b, e)
		}
	}
}

func equal(a, b ipc.Value) bool {
	if a.Kind == ipc.KindDouble && math.IsNaN(a.Float) {
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
			d := ipc.NewDecoder(&endless{stream: stream}, ipc.DefaultLimits)
			b.ReportAllocs()
			b.SetBytes(int64(len(stream)))
			for b.Loop() {
				if _, err := d.Decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
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
