package cli

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A message is one that came from the bus.
type message struct{ ipc.Message }

// A receiver is a connection with subscriptions. When the daemon ends, it subscribes to the next one.
type receiver struct {
	call    *verb.Call
	filters []string
	words   []string   // of each BUS.SUB, behind the filter
	group   string     // of which it is a member; "": of none
	takes   func() int // how many messages it takes of a filter; nil: as many as come
	again   bool       // it takes so many again when it waits for the next one
	spent   []string   // filters of which it does not take any until then
	conn    *ipc.Conn
	value   wire.Value // what was received last
	idle    func() error
	lost    func(n int64, filter string)
	resumed func()    // messages may be missing: nobody knows how many; nil: it ends with the daemon
	since   time.Time // when it was connected
	outage  verb.Outage
	last    uint64            // number of the last message
	live    bool              // retained values are not asked for
	files   bool              // files are taken
	values  map[string]uint64 // with several filters: the numbers of the retained values that came, by topic
}

// receive subscribes to all filters in one write. What is published after it returns is received.
func receive(c *verb.Call, filters []string, words ...string) (*receiver, error) {
	return receiveAs(c, filters, words, "", nil, false)
}

// takeFiles is the word for a receiver that takes the files beside messages.
const takeFiles = "FD"

// receiveAs is receive as a member of a group, unless that is "".
func receiveAs(c *verb.Call, filters, words []string, group string, takes func() int, again bool) (*receiver, error) {
	r := &receiver{
		files: slices.Contains(words, takeFiles), call: c, filters: filters, words: words, group: group, takes: takes, again: again, idle: c.Out.Flush,
		lost:    func(n int64, filter string) { lost(c, n, filter, group) },
		resumed: func() { missing(c, "messages") },
	}
	conn, err := c.Dial()
	since := time.Now()
	if err == nil {
		err = r.subscribe(conn)
	}
	if err != nil {
		return nil, err
	}
	r.conn, r.since = conn, since
	return r, nil
}

// subscribe makes a new connection one with subscriptions, or closes it.
func (r *receiver) subscribe(conn *ipc.Conn) error {
	if r.files {
		conn.TakeFiles()
	}
	last := len(r.filters) - 1
	conn.Buffer("HELLO", "3") // RESP3: a message that comes before the last reply is no reply
	for _, f := range r.filters[:last] {
		conn.Buffer(r.subscription(f)...)
	}
	_, err := conn.Do(r.subscription(r.filters[last])...)
	what := "greet ipcd" // the replies come in order
	for i := 0; err == nil && i <= last; i++ {
		what = "receive " + printable.Name(r.filters[i])
		_, err = conn.Reply()
	}
	r.spent = nil
	if err != nil {
		conn.Close()
		return exit.Cannot(what, err)
	}
	return nil
}

// subscription is the command that subscribes to a filter, or has a member be given more.
func (r *receiver) subscription(filter string) []string {
	words := append([]string{"BUS.SUB", filter}, r.words...)
	if r.group != "" {
		words = append(words, "GROUP", r.group)
	}
	if r.takes != nil {
		words = append(words, "TAKE", strconv.Itoa(r.takes()))
	}
	return words
}

// takeMore says that it takes more of the filters of which it has had what it took.
func (r *receiver) takeMore() error {
	if len(r.spent) == 0 {
		return nil
	}
	for _, f := range r.spent {
		r.conn.Buffer(r.subscription(f)...)
	}
	r.spent = r.spent[:0]
	if err := r.conn.Flush(); err != nil && !verb.Stopped(err) { // what it says of its end is read
		return exit.Cannot("receive messages", err)
	}
	return nil
}

// lost tells that messages were dropped because they were not taken in time, by a subscription or by all members of a group.
func lost(c *verb.Call, n int64, filter, group string) {
	if c.JSON {
		var o term.Object
		o.Number("lost", n)
		o.Text("filter", filter)
		if group != "" {
			o.Text("group", group)
		}
		c.Out.Object(&o)
		return
	}
	if group != "" {
		c.Say("group " + printable.Name(group) + " has lost " + term.Plural(n, "message") + " of " + filter + ": nobody took them in time")
		return
	}
	c.Say("lost " + term.Plural(n, "message") + " of " + filter + ": they came faster than they were taken")
}

// conflated tells that newer messages of their topics have taken the place of others, which is what was asked for.
func conflated(c *verb.Call, n int64, filter string) {
	switch {
	case c.JSON:
		var o term.Object
		o.Number("conflated", n)
		o.Text("filter", filter)
		c.Out.Object(&o)
	case c.Verbose:
		c.Say("left out " + term.Plural(n, "message") + " of " + filter + ", of whose topics newer ones came")
	}
}

// missing tells that some of what is followed may be missing, because the daemon was restarted. Nobody knows how much.
func missing(c *verb.Call, what string) {
	if c.JSON {
		var o term.Object
		o.Value("lost", wire.Value{})
		c.Out.Object(&o)
		return
	}
	c.Say("ipcd was restarted: " + what + " may be missing")
}

// next waits for a message; a zero deadline is none. The error is os.ErrDeadlineExceeded, or a failure.
func (r *receiver) next(deadline time.Time) (message, error) {
	for {
		if err := r.takeMore(); err != nil {
			return message{}, err
		}
		err := r.push(deadline)
		if verb.Stopped(err) && r.resumed != nil {
			if err = r.resume(deadline, err); err == nil {
				continue
			}
		}
		if err != nil {
			return message{}, err
		}
		if m, ok := r.conn.Message(r.value); ok {
			if r.again {
				r.spent = append(r.spent, r.value.Elems[1].Str)
			}
			if r.files && m.FileKind != "" && m.File == nil { // this process can have no more
				r.lost(1, r.value.Elems[1].Str)
				continue
			}
			// Filters that overlap bring a message once each, one after the other; but values all of one filter, and then of the next.
			switch {
			case m.Retained && (r.live || r.hasValue(&m)):
			case m.Retained:
				return message{m}, nil
			case m.Seq != r.last:
				r.last = m.Seq
				return message{m}, nil
			}
			(&message{m}).close()
		} else if v := &r.value; v.Kind == wire.KindPush && len(v.Elems) >= 3 {
			switch v.Elems[0].Str {
			case "bus.lost":
				r.lost(v.Elems[2].Int, v.Elems[1].Str)
			case "bus.conflated":
				conflated(r.call, v.Elems[2].Int, v.Elems[1].Str)
			case "bus.behind":
				return message{}, exit.Cannot("receive messages", v.Elems[2].Err())
			}
		}
	}
}

// hasValue reports whether a retained value came already, by another filter.
func (r *receiver) hasValue(m *ipc.Message) bool {
	if len(r.filters) < 2 {
		return false
	}
	if r.values[m.Topic] == m.Seq {
		return true
	}
	if r.values == nil {
		r.values = map[string]uint64{}
	}
	r.values[m.Topic] = m.Seq
	return false
}

// resume subscribes to the next daemon.
func (r *receiver) resume(deadline time.Time, err error) error {
	conn, since, err := successor(r.call, &r.outage, r.since, deadline, err, r.subscribe)
	if err != nil {
		return err
	}
	r.conn.Close()
	r.conn, r.since, r.last, r.values = conn, since, 0, nil
	r.resumed()
	return nil
}

// successor connects to the next daemon, and begins there, when a connection has ended, as err says, that was made at some time.
// Where the daemon is the one of before, somebody has ended the connection (clients --kill), and it stays so: err.
func successor(
	c *verb.Call, outage *verb.Outage, since, deadline time.Time, err error, begin func(*ipc.Conn) error,
) (next *ipc.Conn, at time.Time, _ error) {
	for ended := err; verb.Stopped(err); {
		conn, gone := outage.Redial(c, deadline, err)
		if gone != nil {
			return nil, at, gone
		}
		at = time.Now()
		if err = begin(conn); err != nil {
			continue
		}
		var same bool
		if same, err = wasThere(conn, since); err == nil && !same {
			return conn, at, nil
		}
		conn.Close()
		if same {
			return nil, at, ended
		}
	}
	return nil, at, err
}

// push waits for what the daemon sends next, and puts it into value.
func (r *receiver) push(deadline time.Time) error {
	if r.conn.Wait(longAgo) != nil { // nothing is there: what was printed must not wait for what is to come
		if err := r.idle(); err != nil {
			return err
		}
	}
	err := r.conn.Wait(deadline)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	if err == nil {
		err = r.conn.ReceiveInto(&r.value)
	}
	if err == nil {
		err = r.value.Err()
	}
	if err != nil {
		return exit.Cannot("receive messages", err)
	}
	return nil
}

// longAgo is a deadline that does not wait.
var longAgo = time.Unix(1, 0)

// stamp is how times are written for programs.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// count is a message's number among those of its filter; "" if it has none.
func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// environment is what CMD gets to know of the message.
func (m *message) environment() []string {
	expires := ""
	if !m.Expires.IsZero() {
		expires = stamp(m.Expires)
	}
	env := []string{
		"IPC_TOPIC=" + m.Topic,
		"IPC_SEQ=" + strconv.FormatUint(m.Seq, 10),
		"IPC_COUNT=" + count(m.Count),
		"IPC_TIME=" + stamp(m.Time),
		"IPC_SENDER_PID=" + strconv.Itoa(m.PID),
		"IPC_SENDER_UID=" + strconv.Itoa(m.UID),
		"IPC_SENDER_UNIT=" + m.Unit,
		"IPC_RETAINED=" + map[bool]string{true: "1"}[m.Retained],
		"IPC_EXPIRES=" + expires,
		"IPC_ENDED=" + m.Ended,
		"IPC_FILE=" + m.FileKind,
		"IPC_FILE_SIZE=" + m.fileSize(),
	}
	return append(env, headerEnvironment(m.Headers)...)
}

// fileSize is how many bytes a message's file has, "" if that has no size, or there is none.
func (m *message) fileSize() string {
	if m.FileKind == "" || m.FileSize < 0 {
		return ""
	}
	return strconv.FormatInt(m.FileSize, 10)
}

// headerEnvironment is what CMD gets to know of headers.
func headerEnvironment(headers map[string]string) (env []string) {
	const header = "IPC_HEADER_"
	for name, value := range headers {
		env = append(env, header+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+value)
	}
	for _, e := range os.Environ() { // of a message that ipcctl is itself CMD for
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, header) && !slices.ContainsFunc(env, func(own string) bool { return strings.HasPrefix(own, name+"=") }) {
			env = append(env, name+"=")
		}
	}
	return env
}

// headersOf are headers as a value of JSON.
func headersOf(headers map[string]string) wire.Value {
	all := wire.Value{Kind: wire.KindMap}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		all.Elems = append(all.Elems, wire.Value{Kind: wire.KindBulk, Str: name}, wire.Value{Kind: wire.KindBulk, Str: headers[name]})
	}
	return all
}

var messageEnv = []verb.Variable{
	{Name: "IPC_TOPIC", Help: "its topic"},
	{Name: "IPC_SEQ", Help: "its number, rising over all topics"},
	{Name: "IPC_COUNT", Help: "its number among those of its filter, or empty if it is a value that the topic had before"},
	{Name: "IPC_TIME", Help: "when it was published, as 2026-08-01T09:30:00.000000Z"},
	{Name: "IPC_SENDER_PID", Help: "who published it: the process"},
	{Name: "IPC_SENDER_UID", Help: "the user, as a number"},
	{Name: "IPC_SENDER_UNIT", Help: "the systemd unit, or empty"},
	{Name: "IPC_RETAINED", Help: "1 if it is the value that the topic had before, or empty"},
	{Name: "IPC_EXPIRES", Help: "when it is over, in the form of IPC_TIME, or empty"},
	{Name: "IPC_ENDED", Help: "how its sender had ended, as `killed 9`, if the message is a will; or empty"},
	{Name: "IPC_FILE", Help: "what standard input is, if it is a file that came beside the message: `sealed` or `open`; or empty"},
	{Name: "IPC_FILE_SIZE", Help: "how many bytes are in it, or empty if it has no size"},
	{Name: "IPC_HEADER_NAME", Help: "each of its headers: of content-type, IPC_HEADER_CONTENT_TYPE"},
}

func (m *message) json(o *term.Output) {
	var obj term.Object
	obj.Text("topic", m.Topic)
	obj.Number("seq", int64(m.Seq))
	if m.Count != 0 {
		obj.Number("count", int64(m.Count))
	}
	obj.Text("time", stamp(m.Time))
	obj.Number("pid", int64(m.PID))
	obj.Number("uid", int64(m.UID))
	obj.Text("unit", m.Unit)
	if m.Group != "" {
		obj.Text("group", m.Group)
	}
	if m.Retained {
		obj.Value("retained", wire.Value{Kind: wire.KindBool, Int: 1})
	}
	if !m.Expires.IsZero() {
		obj.Text("expires", stamp(m.Expires))
	}
	if m.Ended != "" {
		obj.Text("ended", m.Ended)
	}
	if len(m.Headers) > 0 {
		obj.Value("headers", headersOf(m.Headers))
	}
	if m.FileKind != "" {
		obj.Text("file", m.FileKind)
		obj.Number("size", m.FileSize)
	}
	obj.Text("payload", string(m.Payload))
	o.Object(&obj)
}

// wasThere reports whether the daemon has been there since some time before: it is the one that was connected to then.
func wasThere(conn *ipc.Conn, since time.Time) (bool, error) {
	status, err := conn.Do("IPCD.STATUS")
	return time.Duration(status.Get("uptime").Int)*time.Microsecond > time.Since(since), err
}
