package server

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestCommandTable fails, by name, for a row that nothing executes, a function that no row leads to, and a row that a
// reader of the documentation would miss something in.
func TestCommandTable(t *testing.T) {
	rows := map[string]bool{}
	s, _ := newServer(t)
	defer s.close()
	run := s.handlers()
	for i := range wire.Commands {
		row := &wire.Commands[i]
		rows[row.Name] = true
		if run[row.Name] == nil {
			t.Errorf("%s has no handler", row.Name)
		}
		if row.Summary == "" {
			t.Errorf("%s has no summary", row.Name)
		}
		if row.Reply == "" {
			t.Errorf("%s does not say what it answers", row.Name)
		}
	}
	for name := range run {
		if !rows[name] {
			t.Errorf("%s has a handler, and no row", name)
		}
	}
	areas := 0
	for _, area := range s.areas() {
		areas += len(area)
	}
	if areas != len(run) {
		t.Errorf("%d handlers in all areas, %d names: one is in two areas", areas, len(run))
	}
}

// TestCommandDocs finds every row in what COMMAND says of them, and nothing else.
func TestCommandDocs(t *testing.T) {
	h := start(t)
	c := h.dial3()
	found := map[string]bool{}
	docs := c.do("COMMAND", "DOCS")
	for i := 0; i < len(docs.Elems); i += 2 {
		name, doc := docs.Elems[i].Str, docs.Elems[i+1]
		subs := doc.Get("subcommands").Elems
		for j := 0; j < len(subs); j += 2 {
			found[subs[j].Str] = true
			checkDoc(t, subs[j].Str, subs[j+1])
		}
		if row, ok := wire.FindCommand(name); ok {
			found[name] = true
			checkDoc(t, name, doc)
		} else if len(subs) == 0 {
			t.Errorf("%s is documented and is no command: %v", name, row)
		}
	}
	for i := range wire.Commands {
		if name := lowerBar(wire.Commands[i].Name); !found[name] {
			t.Errorf("%s is not documented", name)
		}
	}
	if len(found) != len(wire.Commands) {
		t.Errorf("%d commands documented, of %d", len(found), len(wire.Commands))
	}
	names := c.do("COMMAND", "LIST").Elems
	if count := c.do("COMMAND", "COUNT").Int; int(count) != len(names) || len(names)*2 != len(docs.Elems) {
		t.Errorf("COUNT %d, LIST %d, DOCS %d", count, len(names), len(docs.Elems)/2)
	}
	for i, info := range c.do("COMMAND").Elems {
		if len(info.Elems) != 10 || info.Elems[0].Str != names[i].Str {
			t.Errorf("COMMAND says of %s: %+v", names[i].Str, info)
		}
	}
}

func checkDoc(t *testing.T, name string, doc wire.Value) {
	t.Helper()
	row, ok := wire.FindCommand(strings.ReplaceAll(name, "|", " "))
	if !ok {
		t.Errorf("%s is documented and is no command", name)
		return
	}
	for key, want := range map[string]string{
		"summary": row.Summary, "group": row.Family.String(), "synopsis": row.Args, "reply": row.Reply, "note": row.Note,
	} {
		if got := doc.Get(key).Str; got != want {
			t.Errorf("%s: %s is %q, want %q", name, key, got, want)
		}
	}
}

// TestArity sends every command with too few and too many words.
func TestArity(t *testing.T) {
	h := start(t)
	for i := range wire.Commands {
		row := &wire.Commands[i]
		name := strings.Fields(row.Name)
		tooMany := row.Max + 1
		if row.Max == 0 {
			tooMany = 0
		}
		for _, words := range []int{row.Min - 1, tooMany} {
			if words < len(name) || row.Name == "COMMAND" { // whose next word is taken for a subcommand
				continue
			}
			c := h.dial()
			c.cmd(append(slices.Clone(name), slices.Repeat([]string{"x"}, words-len(name))...)...)
			c.fails(refusal(row), fmt.Sprintf("wrong number of arguments for '%s' command", lowerBar(row.Name)))
			c.sync()
			c.close()
		}
	}
}

// refusal is the code with which a command is refused that cannot be one: EXEC discards the transaction then.
func refusal(row *wire.Command) wire.Code {
	if row.Name == "EXEC" {
		return wire.CodeExecAbort
	}
	return wire.CodeErr
}

func TestUnknownCommands(t *testing.T) {
	h := start(t)
	c := h.dial()
	for command, want := range map[string]string{
		"PUBLSH a b":             "unknown command 'PUBLSH', with args beginning with: 'a' 'b' (did you mean PUBLISH?)",
		"GET a":                  "unknown command 'GET', with args beginning with: 'a'",
		"CLIENT":                 "wrong number of arguments for 'client' command",
		"CLIENT LST":             "unknown subcommand 'LST' (did you mean CLIENT LIST?)",
		"ipcd.statu":             "(did you mean IPCD.STATUS?)",
		"COMMAND nothing":        "unknown subcommand 'nothing'",
		"\"a\\r\\nb\" \"\\x01\"": `unknown command 'a\r\nb', with args beginning with: '\x01'`,
		strings.Repeat("x", 2000) + " " + strings.Repeat("y ", 900): "unknown command '" + strings.Repeat("x", 128) + "'",
	} {
		c.send(command + "\r\n")
		c.fails(wire.CodeErr, want)
	}
	c.sync()
}

// TestSubscribedRESP2 checks which commands a client that cannot tell pushes from replies may send.
func TestSubscribedRESP2(t *testing.T) {
	h := start(t)
	for i := range wire.Commands {
		row := &wire.Commands[i]
		if row.Flags&wire.FlagSubscribed != 0 {
			continue
		}
		c := h.dial()
		c.do("BUS.SUB", "a", "RAW")
		name := strings.Fields(row.Name)
		c.cmd(append(name, slices.Repeat([]string{"1"}, row.Min-len(name))...)...)
		c.fails(refusal(row), fmt.Sprintf("Can't execute '%s': only", lowerBar(row.Name)))
		c.send("PING\r\nBUS.UNSUB\r\nPING\r\n")
		c.want("*2\r\n$4\r\npong\r\n$0\r\n\r\n:0\r\n+PONG\r\n")
		c.close()
	}
}

func TestClientReply(t *testing.T) {
	h := start(t)
	other := h.dial3()

	// Every command's reply is left out, also of those that answer on their own. Pushes are not.
	c := h.dial3()
	c.send("CLIENT REPLY OFF\r\nPING\r\nLOCK.ACQUIRE a\r\nLOCK.RELEASE a\r\nLOCK.RELEASE a\r\nBUS.SUB a\r\nBUS.UNSUB a\r\nNOTHING\r\nPSUBSCRIBE ipcd/filter/#x\r\n")
	c.send("CLIENT REPLY ON\r\n")
	c.want("+OK\r\n")
	c.send("CLIENT REPLY OFF\r\nSUBSCRIBE s\r\nUNSUBSCRIBE s\r\nCLIENT REPLY ON\r\n")
	c.want(">3\r\n$9\r\nsubscribe\r\n$1\r\ns\r\n:1\r\n>3\r\n$11\r\nunsubscribe\r\n$1\r\ns\r\n:0\r\n+OK\r\n")

	// The ticket is a reply, the outcome a push.
	c.send("CLIENT REPLY OFF\r\nLOCK.ACQUIRE b ASYNC\r\nCLIENT REPLY ON\r\n")
	if v := c.value(); v.Kind != wire.KindPush || v.Elems[0].Str != "done" {
		t.Errorf("got %+v, want the push done", v)
	}
	c.want("+OK\r\n")
	c.do("LOCK.RELEASE", "b")

	// SKIP is for the one command after it, also if that waits.
	c.send("CLIENT REPLY SKIP\r\nPING\r\nPING\r\n")
	c.want("+PONG\r\n")
	other.acquire("x")
	c.send("CLIENT REPLY SKIP\r\n")
	h.queue(c, "x", "OWNER", "c")
	c.send("PING\r\n")
	other.do("LOCK.RELEASE", "x")
	c.want("+PONG\r\n")
	c.send("CLIENT REPLY SKIP\r\nLOCK.LIST\r\nPING\r\n")
	c.want("+PONG\r\n")
}

// TestClientReplyReload is TestClientReply for the other command that waits.
func TestClientReplyReload(t *testing.T) {
	h := start(t, func(s *Setup, _ *Options) { s.Reload = func(done func(error)) { go done(nil) } })
	c := h.dial()
	c.send("CLIENT REPLY OFF\r\nIPCD.RELOAD\r\nCLIENT REPLY ON\r\n")
	c.want("+OK\r\n")
	c.send("CLIENT REPLY SKIP\r\nIPCD.RELOAD\r\nPING\r\n")
	c.want("+PONG\r\n")
}

func TestHello(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.refused(wire.CodeNoProto, "", "HELLO", "4")
	c.refused(wire.CodeErr, "not an integer", "HELLO", "x")
	c.refused(wire.CodeErr, "known from the kernel (uid", "HELLO", "3", "AUTH", "a", "b")
	c.refused(wire.CodeErr, "Syntax error in HELLO option 'NOPE'", "HELLO", "3", "NOPE")
	c.refused(wire.CodeErr, "Syntax error", "HELLO", "3", "SETNAME")
	c.refused(wire.CodeErr, "cannot contain", "HELLO", "3", "SETNAME", "a b")
	// What failed has changed nothing.
	if v := c.do("HELLO"); v.Kind != wire.KindArray || v.Get("proto").Int != 2 || v.Get("server").Str != "ipcd" {
		t.Errorf("%+v", v)
	}
	if v := c.do("HELLO", "3", "SETNAME", "me"); v.Kind != wire.KindMap || v.Get("proto").Int != 3 || v.Get("version").Str != "1.2.3" {
		t.Errorf("%+v", v)
	}
	if v := c.do("CLIENT", "GETNAME"); v.Str != "me" {
		t.Errorf("%+v", v)
	}
	c.send("RESET\r\nCLIENT GETNAME\r\n")
	c.want("+RESET\r\n$-1\r\n")
}

// TestClientNames: a name is kept for the life of the connection, so it must not be a way to make the server hold much.
func TestClientNames(t *testing.T) {
	h := start(t)
	c := h.dial()
	long := strings.Repeat("n", 64<<10)
	c.refused(wire.CodeErr, "", "CLIENT", "SETNAME", long)
	c.refused(wire.CodeErr, "", "HELLO", "2", "SETNAME", long)
	c.refused(wire.CodeErr, "", "CLIENT", "SETINFO", "LIB-NAME", long)
	c.refused(wire.CodeErr, "", "CLIENT", "SETINFO", "LIB-VER", long)
	c.do("CLIENT", "SETNAME", strings.Repeat("n", 64))
}

// TestLongGlobs: matching takes time by the length of the glob, for each name.
func TestLongGlobs(t *testing.T) {
	h := start(t)
	c := h.dial()
	long := "*" + strings.Repeat("a", bus.MaxGlob) + "?"
	c.refused(wire.CodeBadName, "", "PSUBSCRIBE", long)
	c.refused(wire.CodeBadName, "", "PUBSUB", "CHANNELS", long)
	c.refused(wire.CodeBadName, "", "COMMAND", "LIST", "FILTERBY", "PATTERN", long)
}

func TestClientKill(t *testing.T) {
	h := start(t)
	c := h.dial()
	me := fmt.Sprint(c.id())
	victim := func() (*client, string) {
		v := h.dial()
		return v, fmt.Sprint(v.id())
	}
	v, id := victim()
	c.send("CLIENT KILL ID " + id + "\r\n")
	c.want(":1\r\n")
	v.eof()
	v, id = victim()
	c.send("CLIENT KILL unix:" + id + "\r\n")
	c.want("+OK\r\n")
	v.eof()
	v, _ = victim()
	v.do("SUBSCRIBE", "a")
	c.send("CLIENT KILL TYPE pubsub\r\n")
	c.want(":1\r\n")
	v.eof()
	for command, want := range map[string]string{
		"CLIENT KILL 77777":                   "-ERR No such client\r\n",
		"CLIENT KILL ID 77777":                ":0\r\n",
		"CLIENT KILL ID " + me:                ":0\r\n",
		"CLIENT KILL USER somebody SKIPME no": "-ERR No such user 'somebody'\r\n",
		"CLIENT KILL LADDR x SKIPME no":       ":0\r\n",
		"CLIENT KILL MAXAGE 3600 SKIPME no":   ":0\r\n",
		"CLIENT KILL ID x":                    "-ERR client-id should be greater than 0\r\n",
		"CLIENT KILL ID 1 SKIPME maybe":       "-ERR syntax error\r\n",
		"CLIENT KILL ID 1 TYPE":               "-ERR syntax error\r\n",
		"CLIENT KILL TYPE nonsense":           "-ERR Unknown client type 'nonsense'\r\n",
	} {
		c.send(command + "\r\n")
		c.want(want)
	}
	h.quiesce(c)
	c.send("CLIENT KILL SKIPME no ID " + me + "\r\nPING\r\n")
	c.want(":1\r\n")
	c.eof()

	// The log has who ended connections of others, not what a process does to itself.
	if strings.Contains(h.log.String(), "client-kill") {
		t.Errorf("logged:\n%s", h.log)
	}
	other := h.client(0)
	other.send(fmt.Sprintf("CLIENT KILL ID %d\r\n", h.dial().id()))
	other.want(":1\r\n")
	if want := fmt.Sprintf("pid=%d by_pid=%d", os.Getpid(), other.pid); !strings.Contains(h.log.String(), want) {
		t.Errorf("it is not logged: %s\n%s", want, h.log)
	}
}

// TestKillWithinTurn publishes to a session that was killed in the same turn: nobody got that message.
func TestKillWithinTurn(t *testing.T) {
	m := newManual(t, 1)
	a, b, c := m.connect(false), m.connect(false), m.connect(false)
	a.cmd("SUBSCRIBE", "x")
	b.cmd("SUBSCRIBE", "x")
	m.settle()
	c.send([]byte(fmt.Sprintf("PUBLISH x 1\r\nPUBLISH x 2\r\nCLIENT KILL ID %d\r\nPUBLISH x 3\r\nBUS.PUB x 4\r\n", a.id))...)
	m.settle()
	const want = ":2\r\n:2\r\n:1\r\n:1\r\n*6\r\n$3\r\nseq\r\n:4\r\n$9\r\ndelivered\r\n:1\r\n$7\r\ndropped\r\n:0\r\n"
	if got := string(c.got); got != want {
		t.Errorf("the publisher got %q, want %q", got, want)
	}
	if m.messages.Stats().Delivered != 6 {
		t.Errorf("%d delivered in the statistics, want 6", m.messages.Stats().Delivered)
	}
}

func TestClientList(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.do("CLIENT", "SETNAME", "one")
	c.do("CLIENT", "SETINFO", "LIB-NAME", "lib")
	c.do("CLIENT", "SETINFO", "LIB-VER", "2.0")
	s := h.dial3()
	s.do("SUBSCRIBE", "a")
	s.do("BUS.SUB", "b")
	s.acquire("l")
	list := strings.Split(strings.TrimSuffix(c.do("CLIENT", "LIST").Str, "\n"), "\n")
	if len(list) != 2 {
		t.Fatalf("%q", list)
	}
	for i, words := range [][]string{
		{"id=1 ", " name=one ", " flags=U ", " sub=0 ", " cmd=client|list ", " resp=2 ", " lib-name=lib ", " lib-ver=2.0 ", " locks=0", fmt.Sprintf(" pid=%d ", h.self.PID)},
		{"id=2 ", " name= ", " flags=PU ", " sub=1 psub=0 ssub=0 ", " bsub=1 ", " cmd=lock.acquire ", " resp=3 ", " locks=1", fmt.Sprintf(" start=%d ", h.self.Start)},
	} {
		for _, w := range words {
			if !strings.Contains(list[i], w) {
				t.Errorf("%q lacks %q", list[i], w)
			}
		}
	}
	for command, want := range map[string]int{
		"CLIENT LIST TYPE pubsub": 1, "CLIENT LIST TYPE normal": 1, "CLIENT LIST TYPE master": 0,
		"CLIENT LIST ID 1 2 3": 2, "CLIENT LIST TYPE pubsub ID 1": 0,
	} {
		c.send(command + "\r\n")
		if got := strings.Count(c.value().Str, "\n"); got != want {
			t.Errorf("%s: %d, want %d", command, got, want)
		}
	}
	if info := c.do("CLIENT", "INFO").Str; !strings.HasPrefix(info, "id=1 ") || !strings.Contains(info, "cmd=client|info") {
		t.Errorf("%q", info)
	}
}

func TestStatus(t *testing.T) {
	h := start(t, func(s *Setup, o *Options) {
		s.Status = func() []Field { return []Field{{"more", "text"}} }
		o.Limits.Connections = 3
	})
	c := h.dial()
	c.do("PUBLISH", "a", "b")
	c.acquire("l")
	status := c.do("IPCD.STATUS")
	for key, want := range map[string]string{
		"version": "1.2.3", "pid": fmt.Sprint(h.self.PID), "connections": "1", "connections_limit": "3", "connections_accepted": "1",
		"commands": "3", "messages_published": "4", "messages_delivered": "0", "locks_held": "1", "locks_granted": "1",
		"locks_waiting": "0", "more": "text",
	} {
		if key == "messages_published" {
			want = "2" // and the event of the lock
		}
		if got := status.Get(key).Text(); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if v := c.do("INFO", "clients"); !strings.Contains(v.Str, "connected_clients:1\r\n") || strings.Contains(v.Str, "# Server") {
		t.Errorf("%q", v.Str)
	}
	if v := c.do("INFO"); !strings.Contains(v.Str, "ipcd_version:1.2.3\r\n") || !strings.Contains(v.Str, "# Replication\r\nrole:master\r\n") {
		t.Errorf("%q", v.Str)
	}
}

func TestReload(t *testing.T) {
	var done func(error)
	called := make(chan struct{})
	h := start(t, func(s *Setup, _ *Options) {
		s.Reload = func(f func(error)) { done = f; called <- struct{}{} }
	})
	c := h.dial()
	c.send("IPCD.RELOAD\r\nPING\r\n")
	<-called
	h.dial().sync() // others are served
	c.quiet()
	done(nil)
	c.want("+OK\r\n+PONG\r\n")
	c.send("IPCD.RELOAD\r\nPING\r\n")
	<-called
	done(fmt.Errorf("line 1: wrong\nline 2: too"))
	c.want("-CONFIG line 1: wrong; line 2: too\r\n+PONG\r\n")

	// A client that has gone meanwhile.
	gone := h.dial()
	gone.send("IPCD.RELOAD\r\n")
	<-called
	gone.close()
	h.until("the client is gone", func() bool { return h.set.Net.Len() == 2 })
	done(nil)
	c.sync()

	// A client that sends no more still learns what came of it.
	half := h.dial()
	half.send("IPCD.RELOAD\r\n")
	<-called
	half.halfClose()
	half.quiet()
	done(nil)
	half.want("+OK\r\n")
	half.eof()
}

func TestReloadDenied(t *testing.T) {
	h := start(t)
	c := h.dial()
	c.refused(wire.CodeErr, "no configuration", "IPCD.RELOAD")
}

// TestErrorsAreShort: an error quotes the beginning of what is wrong, not all of it.
func TestErrorsAreShort(t *testing.T) {
	h := start(t)
	long := strings.Repeat("\x01", 10_000)
	for i := range wire.Commands {
		row := &wire.Commands[i]
		words := strings.Fields(row.Name)
		if row.Name == "CLIENT REPLY" {
			continue
		}
		for n := max(row.Min-len(words), 1); n <= 4 && (row.Max == 0 || n+len(words) <= row.Max); n++ {
			c := h.dial()
			c.cmd(append(slices.Clone(words), slices.Repeat([]string{long}, n)...)...)
			if v := c.value(); len(v.Str) > 1000 && v.Kind == wire.KindError {
				t.Errorf("%s: an error of %d bytes: %.100q", row.Name, len(v.Str), v.Str)
			}
			c.close()
		}
	}
}
