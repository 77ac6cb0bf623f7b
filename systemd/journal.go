package systemd

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// journalHandler encodes a record as one message of the journal's native protocol and writes that with one Write.
// Attributes become fields; and since most readers look at MESSAGE only, they are in its text too.
type journalHandler struct {
	w      io.Writer
	level  slog.Leveler
	prefix string // of the fields of attributes
	group  string // the open groups, as in "a.b."

	// From options and WithAttrs.
	fields []byte
	text   []byte
}

func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group += name + "."
	return &with
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.fields, with.text = slices.Clip(h.fields), slices.Clip(h.text)
	for _, a := range attrs {
		with.add(h.group, a)
	}
	return &with
}

func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	with := *h
	with.fields = append(make([]byte, 0, 512), h.fields...)
	with.text = append(append(make([]byte, 0, 256), r.Message...), h.text...)
	r.Attrs(func(a slog.Attr) bool {
		with.add(h.group, a)
		return true
	})
	message := appendField(with.fields, "MESSAGE", string(with.text))
	message = appendField(message, "PRIORITY", priority(r.Level))
	_, err := h.w.Write(message)
	return err
}

// add appends an attribute to fields and text.
func (h *journalHandler) add(group string, a slog.Attr) {
	a.Value = a.Value.Resolve()
	var value string
	switch a.Value.Kind() {
	case slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, member := range a.Value.Group() {
			h.add(group, member)
		}
		return
	case slog.KindTime:
		value = a.Value.Time().Format(time.RFC3339Nano)
	default:
		if a.Equal(slog.Attr{}) {
			return
		}
		value = a.Value.String()
	}
	key := group + a.Key
	if name := fieldName(h.prefix + key); name != "" {
		h.fields = appendField(h.fields, name, value)
	}
	h.text = append(append(append(h.text, ' '), key...), '=')
	if value == "" || strings.ContainsFunc(value, needsQuotes) {
		h.text = strconv.AppendQuote(h.text, value)
	} else {
		h.text = append(h.text, value...)
	}
}

func needsQuotes(r rune) bool {
	return r == '"' || r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// fieldName returns the name that the journal accepts for a key: letters, digits, "_", a letter first.
func fieldName(key string) string {
	const maxFieldName = 64
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = strings.TrimLeft(name, "_0123456789")
	return name[:min(len(name), maxFieldName)]
}

// appendField appends a field in the form that its value needs.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if strings.Contains(value, "\n") {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	b = append(b, value...)
	return append(b, '\n')
}

// priority returns the level of syslog(3).
func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError+4:
		return "2" // critical
	case level >= slog.LevelError:
		return "3" // error
	case level >= slog.LevelWarn:
		return "4" // warning
	case level >= slog.LevelInfo+2:
		return "5" // notice
	case level >= slog.LevelInfo:
		return "6" // info
	default:
		return "7" // debug
	}
}
