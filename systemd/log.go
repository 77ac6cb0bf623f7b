package systemd

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// LogOptions are the options of [NewLogHandler].
type LogOptions struct {
	// Identifier is the program's name in the journal.
	Identifier string

	// Prefix begins the journal's field of every attribute: with "IPCD_", the attribute event is the field
	// IPCD_EVENT. Without one, an attribute could pass for one of the journal's own fields.
	Prefix string

	// Level is the least level that is logged. Nil means slog.LevelInfo.
	Level slog.Leveler
}

// LogHandler is a slog.Handler that neither waits nor fails; see the package's description.
type LogHandler struct {
	slog.Handler
	queue *logQueue
}

// NewLogHandler returns a handler that logs to the journal if standard error leads there, otherwise as text to
// standard error. Close it to write what is queued.
func NewLogHandler(options LogOptions) *LogHandler {
	if ok, err := journal.StderrIsJournalStream(); ok && err == nil {
		return newLogHandler(&journalSocket{path: "/run/systemd/journal/socket"}, options.journal)
	}
	return newLogHandler(os.Stderr, options.text)
}

func (o LogOptions) text(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: o.Level})
}

func (o LogOptions) journal(w io.Writer) slog.Handler {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	h := &journalHandler{w: w, level: o.Level, prefix: o.Prefix}
	if o.Identifier != "" {
		h.fields = appendField(h.fields, "SYSLOG_IDENTIFIER", o.Identifier)
	}
	return h
}

// newLogHandler puts a queue between a kind of handler and where that writes to.
func newLogHandler(w io.Writer, kind func(io.Writer) slog.Handler) *LogHandler {
	q := newLogQueue(w, kind(w))
	return &LogHandler{Handler: kind(q), queue: q}
}

// Close writes what is queued, for a second at most. What is logged later is lost.
func (h *LogHandler) Close() error { return h.queue.close(time.Second) }
