package cli

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

// An object is a JSON object that is being written. It is not encoding/json that does it, because that would be initialised
// at every start of ipcctl, whether JSON is asked for or not: .04 ms of about one (docs/adr/0005-own-option-table.md).
type object struct{ b []byte }

func (o *object) key(k string) {
	if o.b == nil {
		o.b = append(o.b, '{')
	} else {
		o.b = append(o.b, ',')
	}
	o.b = printable.AppendJSON(o.b, k)
	o.b = append(o.b, ':')
}

// text adds a string. One that is not UTF-8, which JSON cannot hold, is added in base64 under the key with "64" after it.
func (o *object) text(key, s string) {
	if utf8.ValidString(s) {
		o.key(key)
		o.b = printable.AppendJSON(o.b, s)
		return
	}
	o.key(key + "64")
	o.b = appendBase64(o.b, s)
}

func (o *object) number(key string, n int64) {
	o.key(key)
	o.b = strconv.AppendInt(o.b, n, 10)
}

// value adds a reply of the daemon, or a part of one.
func (o *object) value(key string, v ipc.Value) {
	switch v.Kind {
	case ipc.KindSimple, ipc.KindBulk, ipc.KindVerbatim, ipc.KindError:
		o.text(key, v.Str)
	default:
		o.key(key)
		o.b = appendValue(o.b, v)
	}
}

// end completes the object.
func (o *object) end() []byte {
	if o.b == nil {
		return []byte("{}")
	}
	return append(o.b, '}')
}

// object writes one as a line.
func (o *output) object(obj *object) { o.json(obj.end()) }

// json writes a value as a line. Nothing in it needs to be escaped any more.
func (o *output) json(value []byte) { o.text(literal(value)).text("\n") }

// appendValue appends any value. In an array, a string that is not UTF-8 becomes {"base64": …}.
func appendValue(b []byte, v ipc.Value) []byte {
	switch v.Kind {
	case ipc.KindArray, ipc.KindSet, ipc.KindPush:
		b = append(b, '[')
		for i, e := range v.Elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		return append(b, ']')
	case ipc.KindMap:
		var o object
		for i := 0; i+1 < len(v.Elems); i += 2 {
			o.value(v.Elems[i].Text(), v.Elems[i+1])
		}
		return append(b, o.end()...)
	case ipc.KindInt, ipc.KindBool, ipc.KindBigInt:
		return append(b, v.Text()...)
	case ipc.KindDouble:
		return appendDouble(b, v)
	case ipc.KindSimple, ipc.KindBulk, ipc.KindVerbatim, ipc.KindError:
		if utf8.ValidString(v.Str) {
			return printable.AppendJSON(b, v.Str)
		}
		b = append(b, `{"base64":`...)
		b = appendBase64(b, v.Str)
		return append(b, '}')
	}
	return append(b, "null"...)
}

// appendDouble appends a number; JSON has none that is infinite or not a number.
func appendDouble(b []byte, v ipc.Value) []byte {
	if f := v.Float; f-f != 0 {
		return printable.AppendJSON(b, v.Text())
	}
	return append(b, v.Text()...)
}

func appendBase64(b []byte, s string) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, []byte(s))
	return append(b, '"')
}
