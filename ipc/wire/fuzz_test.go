package wire_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

var fuzzLimits = wire.Limits{Frame: 1 << 12, Words: 32, Depth: 6}

// However a stream is cut, the commands are the same, within the limits, and what AppendCommand makes of them is parsed
// as the same again.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"*1\r\n$4\r\nPING\r\n",
		"*3\r\n$7\r\nPUBLISH\r\n$3\r\na/b\r\n$2\r\n\r\n\r\n*0\r\nPING\r\n",
		"PUBLISH a/b \"c\\x20d\"\r\n\r\n*-1\r\n*1\r\n$0\r\n\r\n",
		"*2\r\n$1\r\na\r\n$100000\r\n",
		"*33\r\n", "*1\r\n$-1\r\n", "*1\r\n:1\r\n",
	} {
		f.Add(seed, uint16(3), uint16(9))
	}
	f.Fuzz(func(t *testing.T, stream string, first, second uint16) {
		commands, err := parse(fuzzLimits, stream)
		var proto *wire.ProtoError
		if err != nil && !errors.As(err, &proto) {
			t.Fatal(err)
		}
		one := int(first) % (len(stream) + 1)
		two := one + int(second)%(len(stream)-one+1)
		for _, pieces := range [][]string{{stream[:one], stream[one:two], stream[two:]}, singles(stream)} {
			split, splitErr := parse(fuzzLimits, pieces...)
			if !slices.EqualFunc(split, commands, slices.Equal) || !sameReason(splitErr, err) {
				t.Errorf("%q: %q, %v; in pieces %q: %q, %v", stream, commands, err, pieces, split, splitErr)
			}
		}
		var again []byte
		for _, words := range commands {
			size := 0
			for _, w := range words {
				size += len(w)
			}
			if len(words) > fuzzLimits.Words || size > fuzzLimits.Frame {
				t.Errorf("a command of %d words and %d bytes", len(words), size)
			}
			again = wire.AppendCommand(again, words...)
		}
		// Headers take room that an inline command did not need.
		reparsed, err := parse(wire.Limits{Frame: 8 * fuzzLimits.Frame, Words: fuzzLimits.Words}, string(again))
		if err != nil || !slices.EqualFunc(reparsed, commands, slices.Equal) {
			t.Errorf("%q became %q, %v", commands, reparsed, err)
		}
	})
}

func sameReason(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Error() == b.Error()
}

// Whatever is sent, decoding ends, takes no more memory than a multiple of the bytes that came, and gives values that
// are decoded the same from their own encoding, and into a value that was another before.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"+OK\r\n-BUSY a\r\n:1\r\n$1\r\na\r\n$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n,nan\r\n(12\r\n",
		"!3\r\nE b\r\n=5\r\ntxt:a\r\n*2\r\n:1\r\n~0\r\n%1\r\n+a\r\n|1\r\n+a\r\n:1\r\n>1\r\n:1\r\n",
		">10\r\n$11\r\nbus.message\r\n$1\r\n#\r\n$3\r\na/b\r\n$2\r\n\r\n\r\n:1\r\n:2\r\n:3\r\n:0\r\n$0\r\n\r\n:1\r\n",
		"*1000000\r\n", "$1000000\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		d := wire.NewDecoder(strings.NewReader(stream), fuzzLimits)
		reusing := wire.NewDecoder(strings.NewReader(stream), fuzzLimits)
		var used wire.Value
		var values []wire.Value
		var encoded bytes.Buffer
		for {
			v, err := d.Decode()
			if err != nil {
				var proto *wire.ProtoError
				if !errors.As(err, &proto) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
			if held(v) > 64*fuzzLimits.Frame {
				t.Errorf("%q: a value that holds %d bytes", stream, held(v))
			}
			values = append(values, v)
			if err := reusing.DecodeInto(&used); err != nil || !equal(used, v) {
				t.Errorf("%q: %+v into a value that was used before: %+v, %v", stream, v, used, err)
			}
			encode(&encoded, v)
			_ = v.Text()
			_ = v.Err()
			_ = v.Get("seq")
		}
		// Short forms became longer ones, an attribute may have counted as a level.
		again := wire.NewDecoder(&encoded, wire.Limits{Frame: 8 * fuzzLimits.Frame, Words: fuzzLimits.Words, Depth: fuzzLimits.Depth})
		for _, v := range values {
			if w, err := again.Decode(); err != nil || !equal(v, w) {
				t.Errorf("%+v became %+v, %v", v, w, err)
			}
		}
	})
}

// held is roughly the memory that a value keeps.
func held(v wire.Value) int {
	n := len(v.Str) + 64*cap(v.Elems)
	for _, e := range v.Elems {
		n += held(e)
	}
	return n
}
