package term

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc/wire"
)

// An Object is a JSON object that is being written. It is not encoding/json that does it, because that would be initialised
// at every start of ipcctl, whether JSON is asked for or not: .04 ms of about one (docs/adr/0005-own-option-table.md).
type Object struct{ b []byte }

func (o *Object) key(k string) {
	if o.b == nil {
		o.b = append(o.b, '{')
	} else {
		o.b = append(o.b, ',')
	}
	o.b = printable.AppendJSON(o.b, k)
	o.b = append(o.b, ':')
}

// Text adds a string. One that is not UTF-8, which JSON cannot hold, is added in base64 under the key with "64" after it.
func (o *Object) Text(key, s string) {
	if utf8.ValidString(s) {
		o.key(key)
		o.b = printable.AppendJSON(o.b, s)
		return
	}
	o.key(key + "64")
	o.b = appendBase64(o.b, s)
}

// Number adds a number.
func (o *Object) Number(key string, n int64) {
	o.key(key)
	o.b = strconv.AppendInt(o.b, n, 10)
}

// Value adds a reply of the daemon, or a part of one.
func (o *Object) Value(key string, v wire.Value) {
	switch v.Kind {
	case wire.KindSimple, wire.KindBulk, wire.KindVerbatim, wire.KindError:
		o.Text(key, v.Str)
	default:
		o.key(key)
		o.b = AppendValue(o.b, v)
	}
}

// Object adds an object.
func (o *Object) Object(key string, v *Object) {
	o.key(key)
	o.b = append(o.b, v.end()...)
}

// Objects adds an array of n objects.
func (o *Object) Objects(key string, n int, at func(i int) *Object) {
	o.array(key, n, func(b []byte, i int) []byte { return append(b, at(i).end()...) })
}

// Texts adds an array of texts of ours.
func (o *Object) Texts(key string, texts []string) {
	o.array(key, len(texts), func(b []byte, i int) []byte { return printable.AppendJSON(b, texts[i]) })
}

func (o *Object) array(key string, n int, add func(b []byte, i int) []byte) {
	o.key(key)
	o.b = append(o.b, '[')
	for i := range n {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = add(o.b, i)
	}
	o.b = append(o.b, ']')
}

// end completes the object.
func (o *Object) end() []byte {
	if o.b == nil {
		return []byte("{}")
	}
	return append(o.b, '}')
}

// Object writes one as a line.
func (o *Output) Object(obj *Object) { o.JSON(obj.end()) }

// JSON writes a value as a line. Nothing in it needs to be escaped any more.
func (o *Output) JSON(value []byte) { o.Text(Literal(value)).Text("\n") }

// AppendValue appends any value. In an array, a string that is not UTF-8 becomes {"base64": …}.
func AppendValue(b []byte, v wire.Value) []byte {
	switch v.Kind {
	case wire.KindArray, wire.KindSet, wire.KindPush:
		b = append(b, '[')
		for i, e := range v.Elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendValue(b, e)
		}
		return append(b, ']')
	case wire.KindMap:
		var o Object
		for i := 0; i+1 < len(v.Elems); i += 2 {
			o.Value(v.Elems[i].Text(), v.Elems[i+1])
		}
		return append(b, o.end()...)
	case wire.KindInt, wire.KindBool, wire.KindBigInt:
		return append(b, v.Text()...)
	case wire.KindDouble:
		return appendDouble(b, v)
	case wire.KindSimple, wire.KindBulk, wire.KindVerbatim, wire.KindError:
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
func appendDouble(b []byte, v wire.Value) []byte {
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
