package server

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/ipc"
)

// A command is a row of the command table with what executes it.
type command struct {
	*ipc.Command
	run  func(*Server, *call)
	subs map[string]*command // of a command with subcommands; Command is then nil unless the bare word is a command too
}

// A call is one command being executed. Handlers append their reply to out; what stays empty is no reply (yet).
type call struct {
	sess *session
	cmd  *command
	args [][]byte // without the command's name; slices of the input buffer, gone after the call
	out  []byte
}

// handlers are the functions of the command table's rows, by name.
var handlers = func() map[string]func(*Server, *call) {
	all := map[string]func(*Server, *call){}
	for _, area := range []map[string]func(*Server, *call){
		connectionCommands, clientCommands, commandCommands, pubsubCommands, busCommands, lockCommands, adminCommands,
	} {
		for name, run := range area {
			all[name] = run
		}
	}
	return all
}

// commandTable joins the rows with their handlers.
func commandTable() map[string]*command {
	table := map[string]*command{}
	run := handlers()
	for i := range ipc.Commands {
		row := &ipc.Commands[i]
		first, second, sub := strings.Cut(row.Name, " ")
		c := table[first]
		if c == nil {
			c = new(command)
			table[first] = c
		}
		if sub {
			if c.subs == nil {
				c.subs = map[string]*command{}
			}
			c.subs[second] = &command{Command: row, run: run[row.Name]}
		} else {
			c.Command, c.run = row, run[row.Name]
		}
		if run[row.Name] == nil {
			panic("no handler for " + row.Name)
		}
	}
	return table
}

// lookup finds a word in a table of commands, in any case, without allocation.
func lookup(table map[string]*command, word []byte) *command {
	var buf [32]byte
	if len(word) > len(buf) {
		return nil
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i] = c
	}
	return table[string(buf[:len(word)])]
}

// dispatch executes one command.
func (s *Server) dispatch(sess *session, words [][]byte) {
	s.stats.commands++
	c := &s.call
	c.sess, c.args, c.out = sess, words[1:], c.out[:0]
	c.cmd = lookup(s.commands, words[0])
	if c.cmd != nil && c.cmd.subs != nil && (len(words) > 1 || c.cmd.Command == nil) {
		c.cmd = s.subcommand(c, words)
	} else if c.cmd == nil {
		c.unknown(words)
	}
	if c.cmd != nil && c.allowed(s, len(words)) {
		sess.last = c.cmd
		sess.active = seconds(s.now())
		c.cmd.run(s, c)
	}
	if len(c.out) > 0 && !sess.is(stateReplyOff|stateReplySkip) {
		s.send(sess, c.out)
	}
	if sess.is(stateReplySkip | stateReplySkipNext) {
		skip := sess.is(stateReplySkipNext)
		sess.state &^= stateReplySkip | stateReplySkipNext
		if skip {
			sess.state |= stateReplySkip
		}
	}
	if cap(c.out) > largestKept {
		c.out = nil
	}
}

// subcommand finds the second word's command and takes it off the arguments.
func (s *Server) subcommand(c *call, words [][]byte) *command {
	if len(words) == 1 {
		c.wrongArity(string(words[0]))
		return nil
	}
	sub := lookup(c.cmd.subs, words[1])
	if sub == nil {
		name := strings.ToUpper(string(words[0]))
		c.fail(ipc.CodeErr, "unknown subcommand '%.128s'.%s", words[1], didYouMean(name+" "+string(words[1])))
		return nil
	}
	c.args = words[2:]
	return sub
}

// allowed checks what the command's row asks for.
func (c *call) allowed(s *Server, words int) bool {
	row := c.cmd.Command
	switch {
	case words < row.Min || row.Max > 0 && words > row.Max:
		c.wrongArity(strings.ReplaceAll(row.Name, " ", "|"))
		return false
	case c.sess.proto == ipc.RESP2 && row.Flags&ipc.FlagSubscribed == 0 && c.sess.is(stateSubscribed) && s.bus.Count(c.sess) > 0:
		c.fail(ipc.CodeErr, "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / BUS.SUB / BUS.UNSUB / PING / QUIT / RESET are allowed in this context",
			strings.ReplaceAll(strings.ToLower(row.Name), " ", "|"))
		return false
	case row.Access == ipc.AccessAdmin && !c.admin(s):
		c.fail(ipc.CodeDenied, "%s is for root and the user of the daemon", row.Name)
		return false
	}
	return true
}

// admin reports whether the caller may administrate the daemon.
func (c *call) admin(s *Server) bool { return c.sess.peer.UID == 0 || c.sess.peer.UID == s.self.UID }

// fail makes an error the reply.
func (c *call) fail(code ipc.Code, format string, args ...any) {
	c.out = ipc.AppendError(c.out[:0], code, fmt.Sprintf(format, args...))
}

func (c *call) wrongArity(name string) {
	c.fail(ipc.CodeErr, "wrong number of arguments for '%s' command", strings.ToLower(name))
}

func (c *call) syntax() { c.fail(ipc.CodeErr, "syntax error") }

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
	c.fail(ipc.CodeErr, "%s%s", strings.TrimRight(b.String(), " "), didYouMean(string(words[0])))
}

func didYouMean(name string) string {
	if len(name) <= 32 {
		if near := ipc.NearestCommand(name); near != "" {
			return " Did you mean " + near + "?"
		}
	}
	return ""
}

func (c *call) ok()               { c.out = append(c.out, "+OK\r\n"...) }
func (c *call) integer(n int64)   { c.out = ipc.AppendInt(c.out, n) }
func (c *call) bulk(text string)  { c.out = ipc.AppendBulk(c.out, text) }
func (c *call) array(n int)       { c.out = ipc.AppendArray(c.out, n) }
func (c *call) mapping(pairs int) { c.out = c.sess.proto.AppendMap(c.out, pairs) }
func (c *call) null()             { c.out = c.sess.proto.AppendNull(c.out) }

// arg is argument i in upper case, for comparing with keywords.
func (c *call) arg(i int) string { return strings.ToUpper(string(c.args[i])) }

// number parses an argument as Redis does.
func number(arg []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	return n, err == nil
}
