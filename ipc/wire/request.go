package wire

import (
	"bytes"
	"strconv"
)

// Limits bounds what one peer may make a parser hold.
type Limits struct {
	Frame int // bytes of one frame, its headers included
	Words int // elements of one command, or of one aggregate in a reply
	Depth int // nesting of aggregates in a reply; commands do not nest
}

// DefaultLimits are those of a daemon whose configuration says nothing.
var DefaultLimits = Limits{Frame: 1 << 20, Words: 16384, Depth: 8}

// A ProtoError says what is wrong with bytes that are not RESP, or too much of it. After one the stream has no frame
// boundary to go on from: the connection ends.
type ProtoError struct{ Reason string }

func (e *ProtoError) Error() string { return "protocol error: " + e.Reason }

var (
	errBadCount  = &ProtoError{"invalid multibulk length"} // what Redis refuses, too, is said in its words
	errBadLength = &ProtoError{"invalid bulk length"}
	errQuotes    = &ProtoError{"unbalanced quotes in request"}
	errNoCRLF    = &ProtoError{"expected CR LF after a bulk string"}
)

func errNoBulk(got byte) error { return &ProtoError{"expected '$', got '" + string(rune(got)) + "'"} }

// errBadHeader is the error for a count, or a length, that is none.
func errBadHeader(kind byte) error {
	if kind == '*' {
		return errBadCount
	}
	return errBadLength
}

// ErrTooLarge is the error for a frame of more bytes.
func (l Limits) ErrTooLarge() error {
	return &ProtoError{"a frame is larger than the limit of " + strconv.Itoa(l.Frame) + " bytes"}
}

func (l Limits) errTooManyArgs() error {
	return &ProtoError{"a command has more than the limit of " + strconv.Itoa(l.Words) + " words"}
}

// A RequestParser cuts a stream of bytes into commands. It knows only bytes: it neither reads nor writes, and keeps no
// byte of the stream. It does remember how far it got in a frame that was not complete yet, so that a frame which
// arrives in many pieces is not scanned again from its start for each.
//
// The zero value, with Limits set, is ready for use.
type RequestParser struct {
	Limits Limits

	// Progress in the frame at the start of the buffer; all zero between frames.
	pos   int     // bytes of the frame understood so far
	words int     // words still to come, or 0 in front of the frame's first byte
	spans []int32 // start and end of each word so far: offsets, as the buffer may move
}

// Next takes the first command of buf. It returns the command's words, as slices of buf appended to words[:0], and the
// number of bytes it took; the words are valid as long as buf is. n is 0 if buf ends before the command does: call
// again with the same bytes and more. A command of no words (an empty line, "*0") is returned as such and to be
// skipped. An error is a [*ProtoError].
//
// The buffer passed must begin with the same byte as in the call before if that returned 0, and with the byte after
// the last command otherwise.
func (p *RequestParser) Next(buf []byte, words [][]byte) (w [][]byte, n int, err error) {
	words = words[:0]
	if p.words == 0 {
		if len(buf) == 0 {
			return words, 0, nil
		}
		if buf[0] != '*' {
			return p.inline(buf, words)
		}
		if words, n = p.whole(buf, words); n > 0 {
			return words, n, nil
		}
		count, end, err := p.header(buf, 0)
		if err != nil || end == 0 {
			return words, 0, err
		}
		if count > p.Limits.Words {
			return words, 0, p.Limits.errTooManyArgs()
		}
		if count <= 0 {
			return words, end, nil
		}
		p.pos, p.words, p.spans = end, count, p.spans[:0]
	}
	for p.words > 0 {
		if p.pos >= len(buf) {
			return words, 0, p.incomplete(buf)
		}
		if buf[p.pos] != '$' {
			return words, 0, errNoBulk(buf[p.pos])
		}
		size, start, err := p.header(buf, p.pos)
		if err != nil {
			return words, 0, err
		}
		if start == 0 {
			return words, 0, p.incomplete(buf)
		}
		if size < 0 {
			return words, 0, errBadLength
		}
		if size > p.Limits.Frame-start-2 {
			return words, 0, p.Limits.ErrTooLarge()
		}
		end := start + size
		if len(buf) < end+2 {
			return words, 0, nil
		}
		if buf[end] != '\r' || buf[end+1] != '\n' {
			return words, 0, errNoCRLF
		}
		p.spans = append(p.spans, int32(start), int32(end))
		p.pos = end + 2
		p.words--
	}
	for i := 0; i < len(p.spans); i += 2 {
		words = append(words, buf[p.spans[i]:p.spans[i+1]:p.spans[i+1]])
	}
	n = p.pos
	p.pos = 0
	if cap(p.spans) > 64 {
		p.spans = nil // a command with many words is rare: do not keep its room
	}
	return words, n, nil
}

// whole cuts a command that is there from end to end and has nothing wrong, of less than ten words: nearly all are. n is 0 if this one is
// not, which Next then looks at more closely. It keeps nothing.
func (p *RequestParser) whole(buf []byte, words [][]byte) (w [][]byte, n int) {
	if len(buf) < 4 || buf[2] != '\r' || buf[3] != '\n' || buf[1] <= '0' || buf[1] > '9' || int(buf[1]-'0') > p.Limits.Words {
		return words, 0
	}
	at := 4
	for count := buf[1] - '0'; count > 0; count-- {
		if at >= len(buf) || buf[at] != '$' {
			return words[:0], 0
		}
		size := 0
		for first, i := at+1, at+1; ; i++ {
			if i >= len(buf) || i-first > 6 {
				return words[:0], 0
			}
			digit := buf[i] - '0'
			if digit > 9 {
				if buf[i] != '\r' || i == first {
					return words[:0], 0
				}
				at = i + 2
				break
			}
			size = size*10 + int(digit)
		}
		end := at + size
		if end+2 > len(buf) || end+2 > p.Limits.Frame || buf[at-1] != '\n' || buf[end] != '\r' || buf[end+1] != '\n' {
			return words[:0], 0
		}
		words = append(words, buf[at:end:end])
		at = end + 2
	}
	return words, at
}

// Memory is the number of bytes that the parser holds for a frame which is there in part.
func (p *RequestParser) Memory() int {
	if p.words == 0 {
		return 0
	}
	return cap(p.spans) * 4
}

// incomplete is the error for a frame whose next head is not there though the buffer is as long as a frame may be.
func (p *RequestParser) incomplete(buf []byte) error {
	if len(buf) >= p.Limits.Frame {
		return p.Limits.ErrTooLarge()
	}
	return nil
}

// Needs is a lower bound for the size that the frame at the start of the buffer will have, 0 if nothing is known.
// A reader may make room for it at once.
func (p *RequestParser) Needs(buf []byte) int {
	if p.words == 0 || p.pos >= len(buf) || buf[p.pos] != '$' {
		return 0
	}
	size, start, err := p.header(buf, p.pos)
	if err != nil || start == 0 || size < 0 {
		return 0
	}
	return start + size + 2
}

// header reads "*N\r\n" or "$N\r\n" at buf[at:]. end is 0 if it is not complete.
func (p *RequestParser) header(buf []byte, at int) (n, end int, err error) {
	// Nearly all are of one or two digits.
	switch {
	case at+3 < len(buf) && buf[at+2] == '\r' && buf[at+3] == '\n' && isDigit(buf[at+1]):
		return int(buf[at+1] - '0'), at + 4, nil
	case at+4 < len(buf) && buf[at+3] == '\r' && buf[at+4] == '\n' && isDigit(buf[at+1]) && isDigit(buf[at+2]):
		return int(buf[at+1]-'0')*10 + int(buf[at+2]-'0'), at + 5, nil
	}
	i := at + 1
	negative := false
	if i < len(buf) && buf[i] == '-' {
		negative = true
		i++
	}
	first := i
	for ; i < len(buf); i++ {
		c := buf[i]
		if c == '\r' {
			break
		}
		if !isDigit(c) || i-first == 9 {
			return 0, 0, errBadHeader(buf[at])
		}
		n = n*10 + int(c-'0')
	}
	if i+1 >= len(buf) {
		return 0, 0, nil
	}
	if i == first || buf[i+1] != '\n' {
		return 0, 0, errBadHeader(buf[at])
	}
	if negative {
		n = -n
	}
	return n, i + 2, nil
}

// inline parses a command typed by hand: a line of words apart by blanks, with Redis's quoting ("\n \x00" in double
// quotes, \' in single ones). As in Redis, any white space may stand around words, but only blank, tab and CR end an
// unquoted one.
func (p *RequestParser) inline(buf []byte, words [][]byte) ([][]byte, int, error) {
	// p.pos is how far the line was searched for its end before.
	end := bytes.IndexByte(buf[p.pos:], '\n')
	if end < 0 {
		if len(buf) > p.Limits.Frame {
			return words, 0, p.Limits.ErrTooLarge()
		}
		p.pos = len(buf)
		return words, 0, nil
	}
	end += p.pos
	p.pos = 0
	if end > p.Limits.Frame {
		return words, 0, p.Limits.ErrTooLarge()
	}
	line := bytes.TrimSuffix(buf[:end], []byte{'\r'})
	for {
		line = bytes.TrimLeft(line, " \t\v\f\r")
		if len(line) == 0 {
			return words, end + 1, nil
		}
		if len(words) == p.Limits.Words {
			return words, 0, p.Limits.errTooManyArgs()
		}
		if stop := bytes.IndexAny(line, " \t\r\"'"); stop < 0 || stop > 0 && line[stop] != '"' && line[stop] != '\'' {
			if stop < 0 { // the common case: no quotes, no copy
				stop = len(line)
			}
			words = append(words, line[:stop:stop])
			line = line[stop:]
			continue
		}
		word, rest, ok := unquote(line)
		if !ok {
			return words, 0, errQuotes
		}
		words = append(words, word)
		line = rest
	}
}

// unquote reads one word that has quotes in it, as sdssplitargs of Redis does.
func unquote(line []byte) (word, rest []byte, ok bool) {
	word = []byte{} // grows with what is in it: room for a whole line for each of its words would be a line squared
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '"' && c == '\\' && i+3 < len(line) && line[i+1] == 'x' && isHex(line[i+2]) && isHex(line[i+3]):
			word = append(word, unhex(line[i+2])<<4|unhex(line[i+3]))
			i += 3
		case quote == '"' && c == '\\' && i+1 < len(line):
			i++
			c = line[i]
			if at := bytes.IndexByte([]byte("nrtba"), c); at >= 0 {
				c = "\n\r\t\b\a"[at]
			}
			word = append(word, c)
		case quote == '\'' && c == '\\' && i+1 < len(line) && line[i+1] == '\'':
			i++
			word = append(word, '\'')
		case quote != 0 && c == quote:
			// A closing quote must end the word.
			if i+1 < len(line) && !bytes.ContainsRune([]byte(" \t\v\f\r"), rune(line[i+1])) {
				return nil, nil, false
			}
			return word, line[i+1:], true
		case quote != 0:
			word = append(word, c)
		case c == '"' || c == '\'':
			quote = c
		case c == ' ' || c == '\t' || c == '\r':
			return word, line[i:], true
		default:
			word = append(word, c)
		}
	}
	return word, nil, quote == 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
