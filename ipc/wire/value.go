package wire

import (
	"bufio"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
)

// A Kind is the type of a RESP value, as its first byte on the wire says.
type Kind byte

// The kinds. RESP2 knows the first five.
const (
	KindSimple   Kind = '+'
	KindError    Kind = '-'
	KindInt      Kind = ':'
	KindBulk     Kind = '$'
	KindArray    Kind = '*'
	KindNull     Kind = '_'
	KindBool     Kind = '#'
	KindDouble   Kind = ','
	KindBigInt   Kind = '('
	KindBulkErr  Kind = '!' // is turned into KindError when read
	KindVerbatim Kind = '='
	KindMap      Kind = '%'
	KindSet      Kind = '~'
	KindPush     Kind = '>'
	kindAttr     Kind = '|' // read and dropped
)

// A Value is one reply, or a part of one. Its zero value is a null.
type Value struct {
	Kind  Kind
	Str   string  // simple, bulk, verbatim (without its "txt:"), big integer; an error's line
	Int   int64   // integer; 1 for true
	Float float64 // double
	Elems []Value // array, set, push; a map's keys and values in turn
}

// IsNull reports whether v is the absence of a value.
func (v Value) IsNull() bool { return v.Kind == KindNull || v.Kind == 0 }

// Err is the *Error that v is, or nil.
func (v Value) Err() error {
	if v.Kind != KindError {
		return nil
	}
	return parseError(v.Str)
}

// Text is v as a string where it is a scalar: "" for a null, digits for a number.
func (v Value) Text() string {
	switch v.Kind {
	case KindInt:
		return strconv.FormatInt(v.Int, 10)
	case KindBool:
		return strconv.FormatBool(v.Int == 1)
	case KindDouble:
		return strconv.FormatFloat(v.Float, 'g', -1, 64)
	}
	return v.Str
}

// Get is the value of key in a map, or in an array of keys and values, which is what a map becomes in RESP2. It is a
// null if there is none.
func (v Value) Get(key string) Value {
	for i := 0; i+1 < len(v.Elems); i += 2 {
		if v.Elems[i].Str == key {
			return v.Elems[i+1]
		}
	}
	return Value{}
}

// A Decoder reads replies from a stream. It knows only bytes.
type Decoder struct {
	r      *bufio.Reader
	limits Limits
	left   int // bytes that the value being read may still have
}

// NewDecoder returns a decoder that reads from r and refuses values beyond limits.
func NewDecoder(r io.Reader, limits Limits) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, 16<<10), limits: limits}
}

// Buffered is the number of bytes read from the stream but not decoded yet.
func (d *Decoder) Buffered() int { return d.r.Buffered() }

// Wait returns when at least one byte is there to decode. A value is decoded only in whole, so one who reads with a
// deadline waits here and decodes without.
func (d *Decoder) Wait() error {
	_, err := d.r.Peek(1)
	return err
}

// Decode reads one value. Errors are those of the stream, io.ErrUnexpectedEOF if it ended inside a value, or a
// [*ProtoError]; after any but io.EOF the stream is of no more use.
func (d *Decoder) Decode() (v Value, err error) {
	err = d.DecodeInto(&v)
	return v, err
}

// DecodeInto is Decode into a value that is not needed any more: its array is used again, and its strings where the new ones are the
// same. Who reads many values that are alike, and keeps none, spares most of what they cost. After an error, v is of no use.
func (d *Decoder) DecodeInto(v *Value) error {
	d.left = d.limits.Frame
	err := d.value(v, 0)
	if errors.Is(err, io.EOF) && d.left != d.limits.Frame {
		err = io.ErrUnexpectedEOF
	}
	return err
}

var (
	errTooDeep   = &ProtoError{"aggregates nested deeper than the limit"}
	errTooMany   = &ProtoError{"more elements than the limit"}
	errBadValue  = &ProtoError{"malformed value"}
	errUnknownTy = &ProtoError{"unknown type of value"}
)

func (d *Decoder) value(v *Value, depth int) error {
	if depth > d.limits.Depth {
		return errTooDeep
	}
	line, err := d.line()
	if err != nil {
		return err
	}
	if len(line) == 0 {
		return errBadValue
	}
	kind, rest := Kind(line[0]), line[1:]
	switch kind {
	case KindSimple, KindError, KindBigInt:
		*v = Value{Kind: kind, Str: again(v.Str, rest)}
		return nil
	case KindInt:
		n, ok := integer(rest)
		if !ok {
			return errBadValue
		}
		*v = Value{Kind: kind, Int: n}
		return nil
	case KindDouble:
		f, err := strconv.ParseFloat(string(rest), 64)
		if err != nil && !math.IsInf(f, 0) {
			return errBadValue
		}
		*v = Value{Kind: kind, Float: f}
		return nil
	case KindNull:
		if len(rest) > 0 {
			return errBadValue
		}
		*v = Value{Kind: kind}
		return nil
	case KindBool:
		*v = Value{Kind: kind}
		switch string(rest) {
		case "t":
			v.Int = 1
		case "f":
		default:
			return errBadValue
		}
		return nil
	case KindBulk, KindBulkErr, KindVerbatim:
		return d.bulk(v, kind, rest)
	case KindArray, KindSet, KindPush, KindMap, kindAttr:
		return d.aggregate(v, kind, rest, depth)
	}
	return errUnknownTy
}

// again is text as a string: the one that there was, if it is the same.
func again(before string, text []byte) string {
	if before == string(text) {
		return before
	}
	return string(text)
}

func (d *Decoder) bulk(v *Value, kind Kind, head []byte) error {
	n, err := d.length(head)
	if err != nil {
		return err
	}
	if n < 0 && kind == KindBulk {
		*v = Value{Kind: KindNull}
		return nil
	}
	if n < 0 {
		return errBadLength
	}
	if n > d.left-2 {
		return d.limits.ErrTooLarge()
	}
	d.left -= n + 2
	text, err := d.text(n, v.Str)
	if err != nil {
		return unexpected(err)
	}
	switch kind {
	case KindBulkErr:
		kind = KindError
	case KindVerbatim:
		if n < 4 || text[3] != ':' {
			return errBadValue
		}
		text = text[4:]
	}
	*v = Value{Kind: kind, Str: text}
	return nil
}

// text reads n bytes and the CR LF after them. It may be what was there before.
func (d *Decoder) text(n int, before string) (text string, err error) {
	if n+2 <= d.r.Size() { // one copy, out of the buffer
		data, err := d.r.Peek(n + 2)
		if err != nil {
			return "", err
		}
		if data[n] != '\r' || data[n+1] != '\n' {
			return "", errNoCRLF
		}
		text = again(before, data[:n])
		_, err = d.r.Discard(n + 2)
		return text, err
	}
	// Room is made for what arrives, not for what the head promises.
	var b strings.Builder
	b.Grow(min(n, 1<<20))
	if _, err := io.CopyN(&b, d.r, int64(n)); err != nil {
		return "", err
	}
	end, err := d.r.Peek(2)
	if err != nil {
		return "", err
	}
	if end[0] != '\r' || end[1] != '\n' {
		return "", errNoCRLF
	}
	_, err = d.r.Discard(2)
	return b.String(), err
}

func (d *Decoder) aggregate(v *Value, kind Kind, head []byte, depth int) error {
	n, err := d.length(head)
	if err != nil {
		return err
	}
	if n < 0 && kind == KindArray {
		*v = Value{Kind: KindNull}
		return nil
	}
	if n < 0 {
		return errBadLength
	}
	if n > d.limits.Words {
		return errTooMany
	}
	if kind == KindMap || kind == kindAttr {
		n *= 2
	}
	elems := v.Elems[:0]
	if cap(elems) == 0 { // as for long texts, room is made for what arrives
		elems = make([]Value, 0, min(n, 64))
	}
	for i := range n {
		if i < cap(elems) {
			elems = elems[:i+1]
		} else {
			elems = append(elems, Value{})
		}
		if err := d.value(&elems[i], depth+1); err != nil {
			return unexpected(err)
		}
	}
	*v = Value{Kind: kind, Elems: elems}
	if kind == kindAttr { // says something about the value that follows
		return d.value(v, depth+1)
	}
	return nil
}

func (d *Decoder) length(head []byte) (int, error) {
	n, ok := integer(head)
	if !ok || n < -1 || n > math.MaxInt32 {
		return 0, errBadLength
	}
	return int(n), nil
}

// integer is strconv.ParseInt, quicker where there are digits alone, and so few that they cannot be too many.
func integer(text []byte) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 18 {
		return slowInteger(text)
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return slowInteger(text)
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

func slowInteger(text []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil
}

// line reads up to CR LF, which it leaves out. The slice is valid until the next read.
func (d *Decoder) line() ([]byte, error) {
	line, err := d.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, d.limits.ErrTooLarge() // no line of this protocol is that long
	}
	if err != nil {
		if len(line) > 0 {
			err = unexpected(err)
		}
		return nil, err
	}
	if d.left -= len(line); d.left < 0 {
		return nil, d.limits.ErrTooLarge()
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, errBadValue
	}
	return line[:len(line)-2], nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
