package server

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A command is a row of the command table with what executes it.
type command struct {
	*wire.Command
	word string // the first of its name
	run  func(*Server, *call)
	subs map[string]*command // of a command with subcommands; Command is then nil unless the bare word is a command too
}

// A call is one command being executed. Handlers append their reply to out; what stays empty is no reply (yet).
type call struct {
	sess *session
	cmd  *command
	args [][]byte // without the command's name; slices of the input buffer, gone after the call
	out  []byte
	pays *account.User // for messages to many that follow from it; nil: nobody, as the command is timed as a whole

	gate // of REQID

	patience int // the argument that says how long to wait, behind WAIT; 0: none does

	// What the words of a command with a gate ask for.
	acquisition acquisition
	release     release
	retention   retention
	breaking    *breaking
	takesFD     bool // a descriptor may have come with it
}

// handlers are the functions of the command table's rows, by name.
var handlers = func() map[string]func(*Server, *call) {
	all := map[string]func(*Server, *call){}
	for _, area := range []map[string]func(*Server, *call){
		connectionCommands, transactionCommands, clientCommands, commandCommands, pubsubCommands, busCommands, retainedCommands, lockCommands, adminCommands,
	} {
		for name, run := range area {
			all[name] = run
		}
	}
	return all
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
		if c := x[at]; string(word) == c.word || string(upperCase(&buf, word)) == c.word {
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
func newCommandIndex() *commandIndex {
	index := new(commandIndex)
	table := map[string]*command{}
	run := handlers()
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

// dispatch executes one command, or has it wait for a later turn.
func (s *Server) dispatch(sess *session, words [][]byte) conn.Outcome {
	s.stats.commands++
	c := &s.call
	s.begin(c, sess, words)
	switch fits := c.cmd != nil && c.fits(s, len(words)); {
	case !fits:
		s.refuseQueued(c)
	case sess.is(stateMulti) && s.keepForExec(c, words):
	default:
		long := s.mayTakeLong(c)
		switch {
		case long && (sess.user().Overspent() || s.net.Queued(&sess.Conn)) || s.gone > 0 && s.mustWait(c):
			sess.Slice()
			s.stats.commands--
			return conn.Later
		case len(s.line) > 0 && s.waitsForLine(c):
			s.park(sess)
			s.stats.commands--
			return conn.Later
		}
		sess.last = c.cmd
		sess.active = s.age()
		switch {
		case !c.permitted(s):
			if c.cmd.Flags&wire.FlagDescriptors != 0 {
				sess.CloseFDs() // one may have come with this command: the next command must not take it for its own
			}
		case long:
			begun := time.Now()
			c.cmd.run(s, c)
			sess.user().Spend(time.Since(begun))
		default:
			c.pays = sess.user()
			c.cmd.run(s, c)
		}
	}
	s.reply(c)
	if sess.is(stateReplySkip|stateReplySkipNext) && !sess.is(stateExec) && !sess.Waiting() {
		skip := sess.is(stateReplySkipNext)
		sess.state &^= stateReplySkip | stateReplySkipNext
		if skip {
			sess.state |= stateReplySkip
		}
	}
	c.trim()
	if c.slow() || s.bus.NumPat() > fewPatterns {
		return conn.Slow
	}
	return conn.Done
}

// keepForExec deals with a command of a connection that has said MULTI, and reports whether it is answered with that: it is not if
// it is one of those that end or refuse a transaction.
func (s *Server) keepForExec(c *call, words [][]byte) bool {
	t := c.sess.more.transaction
	c.sess.last, c.sess.active = c.cmd, s.age()
	switch {
	case c.cmd.Flags&wire.FlagUnqueued != 0:
		return false
	case c.cmd.Flags&wire.FlagNoMulti != 0:
		c.fail(wire.CodeErr, "Command not allowed inside a transaction")
	case !c.permitted(s):
	case t.refused || c.keep(s, t, words): // of what will not be executed nothing is kept
		c.out = append(c.out, "+QUEUED\r\n"...)
		return true
	}
	t.refuse()
	return true
}

// dispatchQueued executes one command of a transaction. It reports false if that has to wait for a later turn.
func (s *Server) dispatchQueued(sess *session, words [][]byte) bool {
	c := &s.again.call
	s.begin(c, sess, words)
	switch {
	case s.gone > 0 && s.mustWait(c):
		sess.Slice()
		return false
	case len(s.line) > 0 && s.waitsForLine(c):
		s.park(sess)
		return false
	}
	s.stats.commands++
	switch {
	case !c.hasWords(len(words)):
	case !c.room(account.Buffers, 0): // for its reply
	case c.permitted(s):
		c.cmd.run(s, c)
	case c.cmd.Flags&wire.FlagDescriptors != 0:
		sess.CloseFDs()
	}
	s.reply(c)
	c.trim()
	return true
}

// begin finds out which command the words are. If they are none, cmd is nil and the reply says so.
func (s *Server) begin(c *call, sess *session, words [][]byte) {
	c.sess, c.args, c.out = sess, words[1:], c.out[:0]
	c.gate, c.patience, c.pays, c.takesFD = gate{}, 0, nil, false
	c.cmd = s.commands.find(words[0])
	if c.cmd != nil && c.cmd.subs != nil && (len(words) > 1 || c.cmd.Command == nil) {
		c.cmd = s.subcommand(c, words)
	} else if c.cmd == nil {
		c.unknown(words)
	}
}

// trim does not keep the room of a long reply.
func (c *call) trim() {
	if cap(c.out) > conn.LargestKept {
		c.out = nil
	}
}

// subcommand finds the second word's command and takes it off the arguments.
func (s *Server) subcommand(c *call, words [][]byte) *command {
	if len(words) == 1 {
		c.wrongArity(string(words[0]))
		return nil
	}
	var buf [maxWord]byte
	sub := c.cmd.subs[string(upperCase(&buf, words[1]))]
	if sub == nil {
		name := strings.ToUpper(string(words[0]))
		c.fail(wire.CodeErr, "unknown subcommand '%.128s'%s", words[1], didYouMean(name+" "+string(words[1])))
		return nil
	}
	c.args = words[2:]
	return sub
}

// fits checks that a command is one for so many words, and for the state that its connection is in.
func (c *call) fits(s *Server, words int) bool {
	row := c.cmd.Command
	switch {
	case !c.hasWords(words):
		return false
	case c.sess.proto == wire.RESP2 && row.Flags&wire.FlagSubscribed == 0 && c.sess.is(stateSubscribed) && s.bus.Count(c.sess) > 0:
		c.fail(wire.CodeErr, "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / BUS.SUB / BUS.UNSUB / PING / QUIT / RESET are allowed in this context",
			strings.ReplaceAll(strings.ToLower(row.Name), " ", "|"))
		return false
	}
	return true
}

// hasWords checks how many there are. Redis lets a command into a transaction by the arity that COMMAND tells, which knows no most
// of what may be more.
func (c *call) hasWords(n int) bool {
	row := c.cmd.Command
	if n < row.Min || row.Max > 0 && n > row.Max && (row.Max == row.Min || !c.sess.is(stateMulti) || row.Flags&wire.FlagUnqueued != 0) {
		c.wrongArity(strings.ReplaceAll(row.Name, " ", "|"))
		return false
	}
	return true
}

// slow reports whether the command may have taken long.
func (c *call) slow() bool {
	return c.cmd != nil && c.cmd.Command != nil && c.cmd.Flags&wire.FlagSlow != 0
}

// room reports whether the caller's user may have so much more of something, and has the reply ready if not.
func (c *call) room(what account.Column, more int) bool {
	err := c.sess.user().Room(what, more)
	if err != nil {
		c.fail(wire.CodeQuota, "%v", err)
	}
	return err == nil
}

// fail makes an error the reply.
func (c *call) fail(code wire.Code, format string, args ...any) {
	c.out = wire.AppendError(c.out[:0], code, fmt.Sprintf(format, args...))
}

// failed reports whether the reply so far is an error.
func (c *call) failed() bool { return len(c.out) > 0 && c.out[0] == '-' }

func (c *call) wrongArity(name string) {
	c.fail(wire.CodeErr, "wrong number of arguments for '%s' command", strings.ToLower(name))
}

func (c *call) syntax() { c.fail(wire.CodeErr, "syntax error") }

// unknown answers a command that is none, as Redis does, and names the nearest.
func (c *call) unknown(words [][]byte) {
	var b strings.Builder
	fmt.Fprintf(&b, "unknown command '%.128s', with args beginning with: ", words[0])
	for _, w := range words[1:] {
		if b.Len() > 256 {
			break
		}
		fmt.Fprintf(&b, "'%.128s' ", w)
	}
	c.fail(wire.CodeErr, "%s%s", strings.TrimRight(b.String(), " "), didYouMean(string(words[0])))
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

func (c *call) ok()               { c.out = append(c.out, "+OK\r\n"...) }
func (c *call) integer(n int64)   { c.out = wire.AppendInt(c.out, n) }
func (c *call) bulk(text string)  { c.out = wire.AppendBulk(c.out, text) }
func (c *call) array(n int)       { c.out = wire.AppendArray(c.out, n) }
func (c *call) mapping(pairs int) { c.out = c.sess.proto.AppendMap(c.out, pairs) }
func (c *call) null()             { c.out = c.sess.proto.AppendNull(c.out) }

// arg is argument i in upper case, for comparing with keywords.
func (c *call) arg(i int) string { return strings.ToUpper(string(c.args[i])) }

// number parses an argument as Redis does.
func number(arg []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	// Nothing but the shortest form is a number to Redis: no sign of plus, no leading zero.
	return n, err == nil && len(arg) == len(strconv.AppendInt(nil, n, 10))
}
