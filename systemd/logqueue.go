package systemd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// logQueue is a writer that never waits and never fails. A goroutine passes on what is written, one Write for each.
// What finds the queue full, or is refused by the next writer, is counted, and the count logged when there is a chance.
type logQueue struct {
	records chan []byte
	dropped atomic.Uint64
	closing chan struct{}
	closed  chan struct{}
	once    sync.Once

	// The goroutine's.
	next io.Writer
	log  slog.Handler // writes to next
}

const maxQueuedRecords = 1024

func newLogQueue(next io.Writer, log slog.Handler) *logQueue {
	q := &logQueue{
		records: make(chan []byte, maxQueuedRecords),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		next:    next,
		log:     log,
	}
	go q.run()
	return q
}

// Write queues a copy of record.
func (q *logQueue) Write(record []byte) (int, error) {
	select {
	case q.records <- bytes.Clone(record):
	default:
		q.dropped.Add(1)
	}
	return len(record), nil
}

func (q *logQueue) run() {
	defer close(q.closed)
	for {
		select {
		case record := <-q.records:
			q.pass(record)
		case <-q.closing:
			for {
				select {
				case record := <-q.records:
					q.pass(record)
				default:
					q.tellDropped()
					return
				}
			}
		}
	}
}

func (q *logQueue) pass(record []byte) {
	q.tellDropped()
	if _, err := q.next.Write(record); err != nil {
		q.dropped.Add(1)
	}
}

func (q *logQueue) tellDropped() {
	n := q.dropped.Swap(0)
	if n == 0 {
		return
	}
	r := slog.NewRecord(time.Now(), slog.LevelWarn, "log records were dropped", 0)
	r.AddAttrs(slog.String("event", "log-dropped"), slog.Uint64("count", n))
	if err := q.log.Handle(context.Background(), r); err != nil {
		q.dropped.Add(n)
	}
}

// close waits until the queue is empty, but no longer than limit.
func (q *logQueue) close(limit time.Duration) error {
	q.once.Do(func() { close(q.closing) })
	select {
	case <-q.closed:
		return nil
	case <-time.After(limit):
		return errors.New("cannot write the rest of the log: time is up")
	}
}
