package cli

import (
	"errors"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A feed publishes the records of standard input, a message each, in their order.
//
// It waits for input, for room in the socket and for answers at once, so that none of them holds up another. What was read is sent
// at once; a daemon that is slow has no more to answer than the window holds, and meanwhile nothing is read. The first record that
// is refused ends it, and what was not sent by then is not sent. What is under way behind it counts all the same, and is told.
//
// When the daemon ends, the next one is sent what was not answered. Of that, the one before may have published some: a record is
// published at least once. A REQID would not change that, as no daemon knows what the one before has done.
type feed struct {
	call  *verb.Call
	pub   *pubVerb
	topic string
	in    records
	noun  string // what one of them is

	before, after []byte // of a command: what stands around the payload

	conn    *ipc.Conn
	since   time.Time // when it was made
	outage  verb.Outage
	reply   wire.Value // the last one
	limit   int        // of a command, in bytes
	window  window
	blocked bool // the socket is full
	deaf    bool // the daemon takes no more on this connection

	closed  bool          // no more input is taken
	stopped bool          // nor is sent what was not begun
	failed  *exit.Failure // why it is closed, if not by the end of the input
	refused int64         // the record that it failed by; 0: none
	behind  int64         // records after that one which were published

	answered           int64        // records
	published          atomic.Int64 // of them; one who watches for signals reads it, too
	unknown            atomic.Int64 // records that were sent and are not answered; likewise
	delivered, dropped int64

	signals int            // a descriptor that is readable when a signal has come
	ending  syscall.Signal // which one
	telling sync.Mutex     // guards what stands on the terminal; one who ends the process keeps it
	meter   meter
}

// feed publishes the records of standard input.
func (p *pubVerb) feed(c *verb.Call, topic string) error {
	f := newFeed(c, p, topic, 0)
	conn, err := c.Dial()
	if err == nil {
		f.since = time.Now()
		err = f.use(conn)
	}
	if err != nil {
		return err
	}
	defer func() { f.conn.Close() }()
	f.meter.begin(c)
	if err := f.watch(); err != nil {
		return exit.Cannot("watch for signals", err)
	}
	announce(c, "each "+f.noun+" that you type is a message")
	err = f.run()
	f.meter.line.end(err != nil)
	f.sum()
	return err
}

func newFeed(c *verb.Call, p *pubVerb, topic string, fd int) *feed {
	f := &feed{call: c, pub: p, topic: topic, in: records{fd: fd, end: '\n'}, noun: "line"}
	if p.null {
		f.in.end, f.noun = 0, "record"
	}
	f.before = wire.AppendArray(nil, 3+len(p.options))
	f.before = wire.AppendBulk(wire.AppendBulk(f.before, "BUS.PUB"), topic)
	for _, word := range p.options {
		f.after = wire.AppendBulk(f.after, word)
	}
	return f
}

// use has a new connection be the one, and learns how large a command may be.
func (f *feed) use(conn *ipc.Conn) error {
	greeting, err := conn.Do("HELLO", "3")
	if err != nil {
		conn.Close()
		return exit.Cannot("greet ipcd", err)
	}
	f.limit = wire.DefaultLimits.Frame
	if n := greeting.Get("input_limit").Int; n > 0 {
		f.limit = int(n)
	}
	f.conn, f.blocked, f.deaf = conn, false, false
	return nil
}

// run goes on until all is published, or it fails, or a signal ends the process.
func (f *feed) run() error {
	for {
		f.fill()
		f.send()
		if err := f.call.Out.Flush(); err != nil {
			return err
		}
		if f.closed && f.window.empty() {
			return f.outcome()
		}
		if err := f.wait(); err != nil {
			return err
		}
	}
}

// fill takes records into the window.
func (f *feed) fill() {
	for !f.closed && !f.window.full() {
		record, ok := f.in.next()
		switch {
		case ok && f.window.add(f.limit, f.before, record, f.after):
		case ok || f.in.unfinished() > f.limit: // the daemon would hang up
			n := f.answered + int64(f.window.count()) + 1
			f.refuse(n, exit.Fail(exit.Quota, "cannot "+f.publishing(n)+": that takes more than the limit of "+strconv.Itoa(f.limit)+" bytes"))
		default:
			f.closed = f.in.over
			return
		}
	}
}

// publishing is what is done with a record.
func (f *feed) publishing(n int64) string {
	return "publish " + f.noun + " " + strconv.FormatInt(n, 10) + " on " + printable.Name(f.topic)
}

// refuse ends it because of a record, unless one before that has ended it.
func (f *feed) refuse(n int64, why *exit.Failure) {
	if f.refused == 0 || n < f.refused {
		f.refused, f.failed, f.closed = n, why, true
	}
}

// stop has nothing more be sent than what is on its way.
func (f *feed) stop() {
	f.closed, f.stopped = true, true
	f.window.drop()
}

// send sends as much as the socket takes.
func (f *feed) send() {
	if f.blocked || f.deaf || len(f.window.unsent()) == 0 {
		return
	}
	n, err := f.conn.Offer(f.window.unsent())
	f.window.took(n)
	f.unknown.Store(int64(f.window.begun()))
	f.blocked = err == nil && len(f.window.unsent()) > 0
	f.deaf = err != nil // what is to be read tells why
}

// wait waits for something to do, and does it.
func (f *feed) wait() error {
	const input, socket, signals = 0, 1, 2
	fds := [...]unix.PollFd{
		input:   {Fd: -1, Events: unix.POLLIN},
		socket:  {Fd: int32(f.conn.Fd()), Events: unix.POLLIN},
		signals: {Fd: int32(f.signals), Events: unix.POLLIN},
	}
	if !f.closed && !f.window.full() {
		fds[input].Fd = int32(f.in.fd)
	}
	if f.blocked {
		fds[socket].Events |= unix.POLLOUT
	}
	n, err := unix.Poll(fds[:], f.meter.pause())
	if err != nil && !errors.Is(err, unix.EINTR) {
		return exit.Cannot("wait for input", err)
	}
	f.showMeter()
	if n <= 0 {
		return nil
	}
	if fds[signals].Revents != 0 {
		f.interrupt()
	}
	if fds[socket].Revents&unix.POLLOUT != 0 {
		f.blocked = false
	}
	if fds[socket].Revents&^unix.POLLOUT != 0 {
		if err := f.receive(); err != nil {
			return err
		}
	}
	if fds[input].Revents != 0 && !f.closed {
		if err := f.in.read(); err != nil && !errors.Is(err, io.EOF) {
			f.failed, f.closed = exit.Fail(exit.IO, "cannot read standard input: "+exit.Reason(err)), true
		}
	}
	return nil
}

// receive takes what the daemon has answered, and goes on with the next one if this one has ended.
func (f *feed) receive() error {
	err := f.answers()
	f.unknown.Store(int64(f.window.begun()))
	if err != nil && !f.stopped {
		if err = f.resume(err); err != nil {
			f.failed, f.refused = exit.Cannot("publish on "+printable.Name(f.topic), err), 0
		}
	}
	if err != nil {
		return f.outcome()
	}
	return nil
}

// answers takes the answers that are there. It fails if the connection has ended, and there is something left to be published.
func (f *feed) answers() error {
	for {
		if f.closed && f.window.empty() {
			return nil
		}
		err := f.conn.Wait(longAgo)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if err = f.conn.ReceiveInto(&f.reply); err == nil {
			err = f.reply.Err()
		}
		if err == nil && f.reply.Kind == wire.KindPush { // ipcd says that it ends
			continue
		}
		if err != nil && (f.window.empty() || verb.Stopped(err) || !errors.As(err, new(*wire.Error))) {
			return err // it is what is said last
		}
		if f.window.empty() {
			return &wire.ProtoError{Reason: "a reply to nothing"}
		}
		f.window.answered()
		f.answer(err)
	}
}

// answer takes the answer to the oldest record.
func (f *feed) answer(err error) {
	f.answered++
	n := f.answered
	if err != nil {
		f.refuse(n, refusal(f.publishing(n), err))
		f.stop()
		return
	}
	receipt := ipc.DecodeReceipt(f.reply)
	f.published.Add(1)
	f.delivered += int64(receipt.Delivered)
	f.dropped += int64(receipt.Dropped)
	if f.call.JSON {
		printReceipt(f.call, &receipt)
	}
	if f.refused > 0 && n > f.refused {
		f.behind++
	}
	if receipt.Delivered < f.pub.expect {
		f.refuse(n, f.pub.short(f.publishing(n), &receipt))
		f.stop()
	}
}

// resume goes on with the next daemon, which is sent what the one before had not answered.
func (f *feed) resume(err error) error {
	before := f.conn
	_, since, err := successor(f.call, &f.outage, f.since, time.Time{}, err, f.use)
	if err != nil {
		f.conn = before
		return err
	}
	before.Close()
	f.since = since
	repeated := int64(f.window.begun())
	f.window.again()
	switch {
	case f.call.JSON && repeated > 0:
		var o term.Object
		o.Number("repeated", repeated)
		f.call.Out.Object(&o)
	case repeated > 0:
		f.call.Say("ipcd was restarted: from " + f.noun + " " + strconv.FormatInt(f.answered+1, 10) + " on, " +
			term.Plural(repeated, f.noun) + " may have been published twice")
	case f.call.Speaks(term.Stderr()):
		f.call.Say("ipcd was restarted")
	}
	return nil
}

// outcome is the failure with what it leaves behind, or nil. If a signal has come, it does not return.
func (f *feed) outcome() error {
	switch {
	case f.ending != 0:
		f.sum()
		_ = f.call.Out.Flush() // nobody would be told
		f.leave(f.ending)
	case f.failed == nil:
		return nil
	case f.refused == 0:
		f.failed.Text = joined(f.failed.Text, f.balance())
		return f.failed
	}
	text := ""
	if f.behind > 0 {
		text = "of those after it, " + strconv.FormatInt(f.behind, 10) + " had been sent, and published"
	}
	if n := f.unknown.Load(); n > 0 {
		text = joined(text, strconv.FormatInt(n, 10)+" may have been published")
	}
	f.failed.Text = joined(f.failed.Text, text)
	return f.failed
}

// balance says how far it came; "" if it did not begin.
func (f *feed) balance() string {
	text := ""
	published, unknown := f.published.Load(), f.unknown.Load()
	if published > 0 || unknown > 0 {
		text = "published " + term.Plural(published, f.noun)
	}
	if unknown > 0 {
		text += ", and perhaps " + strconv.FormatInt(unknown, 10) + " more"
	}
	return text
}

// sum tells what came of it all, if asked to.
func (f *feed) sum() {
	switch {
	case f.call.JSON:
		var o term.Object
		o.Number("published", f.published.Load())
		o.Number("delivered", f.delivered)
		o.Number("dropped", f.dropped)
		if n := f.unknown.Load(); n > 0 {
			o.Number("unknown", n)
		}
		f.call.Out.Object(&o)
	case f.call.Verbose:
		f.call.Say("published " + term.Plural(f.published.Load(), f.noun) + "; delivered " + strconv.FormatInt(f.delivered, 10) +
			", dropped " + strconv.FormatInt(f.dropped, 10))
	}
}

// lastAnswers is how long a signal leaves for what is under way to be answered.
const lastAnswers = time.Second

// watch has signals end it in order: what was sent is answered before, if that does not take long. A second signal does not wait.
func (f *feed) watch() error {
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		return err
	}
	f.signals = pipe[0]
	signals := make(chan os.Signal, 2)
	process.Catch(signals, process.Leaving)
	go func() {
		s, ok := (<-signals).(syscall.Signal)
		if !ok {
			return
		}
		_, _ = unix.Write(pipe[1], []byte{byte(s)}) // there is room for one
		select {
		case <-signals:
		case <-after(lastAnswers):
		}
		f.leave(s)
	}()
	return nil
}

// interrupt takes a signal.
func (f *feed) interrupt() {
	var b [1]byte
	if n, _ := unix.Read(f.signals, b[:]); n == 1 {
		f.ending = syscall.Signal(b[0])
		f.stop()
	}
}

// leave tells how far it came, and dies of a signal. It may be called while something else is stuck.
func (f *feed) leave(s syscall.Signal) {
	f.telling.Lock()
	f.meter.line.end(true)
	if !f.call.Quiet {
		text := f.balance()
		if text == "" {
			text = "nothing was published"
		}
		f.call.Say("interrupted: " + text)
	}
	process.Die(s)
}

// A meter tells a terminal how it goes.
type meter struct {
	line  statusLine
	on    bool
	next  time.Time // when it is told
	shown int64     // what was told last
}

func (m *meter) begin(c *verb.Call) {
	m.line.tell = term.Stderr()
	m.on = m.line.tell.TTY && !term.IsTerminal(0) && !c.Quiet && (!c.JSON || !c.Out.TTY)
	m.next = time.Now().Add(tick)
}

// pause is how long poll(2) may wait.
func (m *meter) pause() int {
	if !m.on {
		return -1
	}
	return int(max(time.Until(m.next)/time.Millisecond+1, 0))
}

// showMeter has the meter tell how many records were published, and how many a second since it was told last.
func (f *feed) showMeter() {
	m := &f.meter
	now := time.Now()
	if !m.on || now.Before(m.next) {
		return
	}
	f.telling.Lock()
	defer f.telling.Unlock()
	n := f.published.Load()
	seconds := (tick + now.Sub(m.next)).Seconds()
	m.line.show("published " + term.Plural(n, f.noun) + ", " + strconv.FormatInt(int64(float64(n-m.shown)/seconds), 10) + " a second")
	m.shown, m.next = n, now.Add(tick)
}
