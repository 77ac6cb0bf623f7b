package server

import (
	"fmt"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A command is a row of the command table with what executes it.
type command struct {
	*wire.Command
	word string // the first of its name
	run  session.Handler
	subs map[string]*command // of a command with subcommands; Command is then nil unless the bare word is a command too
}

// handlers are the functions of the command table's rows, by name: those of the services, and the server's own.
func (s *Server) handlers() map[string]session.Handler {
	all := map[string]session.Handler{}
	for _, area := range s.areas() {
		for name, run := range area {
			all[name] = run
		}
	}
	return all
}

func (s *Server) areas() []map[string]session.Handler {
	return []map[string]session.Handler{
		s.connectionCommands(), s.transactionCommands(), s.clientCommands(), s.commandCommands(), s.adminCommands(), s.messages.Handlers(),
		s.asking.Handlers(), s.wills.Handlers(), s.locks.Handlers(),
	}
}

// A commandIndex finds commands by the first word, which is done for each command that is executed: a hash table with
// open addressing, several times as quick as a map. Few commands share a slot, and none is added later.
type commandIndex [256]*command

// slotOf is the same for a word in any case: of each letter only the bits that the two cases share count.
func slotOf[T ~string | ~[]byte](word T) uint {
	n := len(word)
	return (uint(word[0]&^' ')*31 + uint(word[n/2]&^' ')*7 + uint(word[n-1]&^' ')*3 + uint(n)) % uint(len(commandIndex{}))
}

func (x *commandIndex) add(c *command) {
	at := slotOf(c.word)
	for x[at] != nil {
		at = (at + 1) % uint(len(x))
	}
	x[at] = c
}

// find looks a word up, in any case.
func (x *commandIndex) find(word []byte) *command {
	if len(word) == 0 {
		return nil
	}
	var buf [maxWord]byte
	for at := slotOf(word); x[at] != nil; at = (at + 1) % uint(len(x)) {
		if c := x[at]; len(word) == len(c.word) && (string(word) == c.word || string(upperCase(&buf, word)) == c.word) {
			return c
		}
	}
	return nil
}

// maxWord is the length of the longest word that is looked up.
const maxWord = 32

// upperCase writes a word to buf in upper case; it is empty if it is too long.
func upperCase(buf *[maxWord]byte, word []byte) []byte {
	if len(word) > len(buf) {
		return nil
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(word)]
}

// newCommandIndex joins the rows of the command table with their handlers.
func newCommandIndex(run map[string]session.Handler) *commandIndex {
	index := new(commandIndex)
	table := map[string]*command{}
	for i := range wire.Commands {
		row := &wire.Commands[i]
		first, second, sub := strings.Cut(row.Name, " ")
		c := table[first]
		if c == nil {
			c = &command{word: first}
			table[first] = c
			index.add(c)
		}
		if sub {
			if c.subs == nil {
				c.subs = map[string]*command{}
			}
			c.subs[second] = &command{Command: row, word: first, run: run[row.Name]}
		} else {
			c.Command, c.run = row, run[row.Name]
		}
		if run[row.Name] == nil {
			panic("no handler for " + row.Name)
		}
	}
	return index
}

// Execute executes one command, or has it wait for a later turn: see session.Host.
func (h *host) Execute(sess *session.Session, words [][]byte) conn.Outcome {
	s := (*Server)(h)
	s.stats.commands++
	c := &s.call
	cmd := s.begin(c, sess, words)
	switch {
	case cmd == nil || !s.fits(c, len(words)):
		s.refuseQueued(c)
		c.DropFD()
	case sess.Is(session.InMulti) && s.keepForExec(c, words):
	default:
		long := c.Row.Flags&(wire.FlagSlow|wire.FlagFanOut|wire.FlagQueues|wire.FlagAsks) != 0 && s.mayTakeLong(c)
		switch {
		case long && (sess.User().Overspent() || s.set.Net.Queued(&sess.Conn)) || s.locks.MustWait(c):
			sess.Slice()
			s.stats.commands--
			return conn.Later
		case s.messages.InLine() > 0 && s.messages.MustWait(c):
			s.messages.Park(sess)
			s.stats.commands--
			return conn.Later
		case s.messages.MustAwaitRoom(c):
			s.stats.commands--
			return conn.Later
		}
		sess.Note(c.Row)
		switch {
		case c.Row.Access != wire.AccessNone && !s.permitted(c):
			c.DropFD()
		case long:
			begun := time.Now()
			cmd.run(c)
			sess.User().Spend(time.Since(begun))
		default:
			c.Pays = sess.User()
			cmd.run(c)
		}
	}
	c.Reply()
	if sess.Is(session.ReplySkip | session.ReplySkipNext) {
		skipped(sess)
	}
	c.Trim()
	if isSlow(c) || s.messages.MatchIsSlow() {
		return conn.Slow
	}
	return conn.Done
}

// skipped goes on with CLIENT REPLY SKIP when a command is executed: its own reply was told, the next one is not.
func skipped(sess *session.Session) {
	if sess.Is(session.InExec) || sess.Waiting() {
		return
	}
	next := sess.Is(session.ReplySkipNext)
	sess.Unmark(session.ReplySkip | session.ReplySkipNext)
	if next {
		sess.Mark(session.ReplySkip)
	}
}

// keepForExec deals with a command of a connection that has said MULTI, and reports whether it is answered with that: it is not if
// it is one of those that end or refuse a transaction.
func (s *Server) keepForExec(c *session.Call, words [][]byte) bool {
	t := c.Session.Transaction()
	c.Session.Note(c.Row)
	switch {
	case c.Row.Flags&wire.FlagUnqueued != 0:
		return false
	case c.Row.Flags&wire.FlagNoMulti != 0:
		c.Fail(wire.CodeErr, "Command not allowed inside a transaction")
	case !s.permitted(c):
	case t.Refused() || c.Keep(words, s.opts.Limits.Input): // of what will not be executed nothing is kept
		c.Out = append(c.Out, "+QUEUED\r\n"...)
		return true
	}
	t.Refuse()
	return true
}

// dispatchQueued executes one command of a transaction. It reports false if that has to wait for a later turn.
func (s *Server) dispatchQueued(sess *session.Session, words [][]byte) bool {
	c := &s.again.call
	cmd := s.begin(c, sess, words)
	switch {
	case s.locks.MustWait(c):
		sess.Slice()
		return false
	case s.messages.InLine() > 0 && s.messages.MustWait(c):
		s.messages.Park(sess)
		return false
	}
	s.stats.commands++
	if (c.Row.Takes(len(words)) || countedLater(c, len(words))) && c.RoomForReply() && s.permitted(c) {
		cmd.run(c)
	} else {
		c.DropFD()
	}
	c.Reply()
	c.Trim()
	return true
}

// begin finds out which command the words are. If they are none, it is nil and the reply says so.
func (s *Server) begin(c *session.Call, sess *session.Session, words [][]byte) *command {
	c.Begin(sess, words[1:])
	cmd := s.commands.find(words[0])
	if cmd != nil && cmd.subs != nil && (len(words) > 1 || cmd.Command == nil) {
		cmd = cmd.subcommand(c, words)
	} else if cmd == nil {
		unknown(c, words)
	}
	if cmd != nil {
		c.Row = cmd.Command
	}
	return cmd
}

// subcommand finds the second word's command and takes it off the arguments.
func (cmd *command) subcommand(c *session.Call, words [][]byte) *command {
	if len(words) == 1 {
		wrongArity(c, string(words[0]))
		return nil
	}
	var buf [maxWord]byte
	sub := cmd.subs[string(upperCase(&buf, words[1]))]
	if sub == nil {
		name := strings.ToUpper(string(words[0]))
		c.Fail(wire.CodeErr, "unknown subcommand '%.128s'%s", words[1], didYouMean(name+" "+string(words[1])))
		return nil
	}
	c.Args = words[2:]
	return sub
}

// fits checks that a command is one for so many words, and for the state that its connection is in.
func (s *Server) fits(c *session.Call, words int) bool {
	return (c.Row.Takes(words) || countedLater(c, words)) && (!c.Session.Is(session.Subscribed) || s.fitsSubscriber(c))
}

// fitsSubscriber is about a connection that has subscribed: one of RESP2 cannot tell what it is sent for that from replies.
func (s *Server) fitsSubscriber(c *session.Call) bool {
	row := c.Row
	if c.Session.Proto() != wire.RESP2 || row.Flags&wire.FlagSubscribed != 0 || !s.messages.IsSubscriber(c.Session) {
		return true
	}
	c.Fail(wire.CodeErr, "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / BUS.SUB / BUS.UNSUB / PING / QUIT / RESET are allowed in this context",
		strings.ReplaceAll(strings.ToLower(row.Name), " ", "|"))
	return false
}

// countedLater reports whether a command that has too many words is refused when it is executed: Redis lets a command into a transaction
// by the arity that COMMAND tells, which knows no most of what may be more. If not, it is refused now.
func countedLater(c *session.Call, n int) bool {
	row := c.Row
	if n >= row.Min && row.Max != row.Min && c.Session.Is(session.InMulti) && row.Flags&wire.FlagUnqueued == 0 {
		return true
	}
	wrongArity(c, strings.ReplaceAll(row.Name, " ", "|"))
	return false
}

// isSlow reports whether the command may have taken long.
func isSlow(c *session.Call) bool {
	return c.Row != nil && c.Row.Flags&wire.FlagSlow != 0
}

func wrongArity(c *session.Call, name string) {
	c.Fail(wire.CodeErr, "wrong number of arguments for '%s' command", strings.ToLower(name))
}

// unknown answers a command that is none, as Redis does, and names the nearest.
func unknown(c *session.Call, words [][]byte) {
	var b strings.Builder
	fmt.Fprintf(&b, "unknown command '%.128s', with args beginning with: ", words[0])
	for _, w := range words[1:] {
		if b.Len() > 256 {
			break
		}
		fmt.Fprintf(&b, "'%.128s' ", w)
	}
	c.Fail(wire.CodeErr, "%s%s", strings.TrimRight(b.String(), " "), didYouMean(string(words[0])))
}

func didYouMean(name string) string {
	if len(name) <= 32 {
		if why := wire.WhyNotHere(name); why != "" {
			return " (ipcd has no such command: " + why + ")"
		}
		if near := wire.NearestCommand(name); near != "" {
			return " (did you mean " + near + "?)"
		}
	}
	return ""
}
