package cli

import (
	"strings"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

func raw() *verb.Verb {
	return &verb.Verb{
		Name:     "raw",
		Group:    "The daemon",
		Summary:  "Send any command and print the reply",
		Synopsis: []string{"[--] COMMAND [ARG…]"},
		About: []string{
			"Sends COMMAND as it is, over RESP3, and prints the reply: each element on its own line, nested ones indented, a map " +
				"as `key: value`. With `--json`, it is one line of JSON. An error reply goes to standard error, and its code becomes " +
				"the exit status.",
			"Only the first reply is printed. Then the connection ends, and with it all that belongs to it: subscriptions, " +
				"requests with ASYNC that still wait, and locks that are not bound to something else by FOR or LEASE.",
			"An argument that begins with `-` needs `--` before COMMAND.",
		},
		Examples: []verb.Example{
			{Line: "ipcctl raw COMMAND LIST", Help: "List all commands."},
			{Line: "ipcctl raw --json LOCK.INFO backup", Help: "Get the daemon's own words, for a program."},
		},
		Exits: []int{exit.Data, exit.NotFound, exit.Busy, exit.Config, exit.Deadlock, exit.NoLock, exit.Timeout},
		Words: []string{"COMMAND", "ARG"},
		Least: 1,
		Most:  verb.Many,
		Run: func(c *verb.Call) error {
			if command := strings.ToUpper(strings.Join(c.Words, " ")); command == "CLIENT REPLY OFF" || command == "CLIENT REPLY SKIP" {
				return exit.Unparsed(command, "there would be no reply to print")
			}
			conn, err := c.Dial3()
			if err != nil {
				return err
			}
			defer conn.Close()
			v, err := rawReply(conn, c.Words)
			if err != nil {
				return exit.Cannot("carry out "+strings.ToUpper(c.Words[0]), err)
			}
			if c.JSON {
				c.Out.JSON(term.AppendValue(nil, v))
			} else {
				printValue(c.Out, "", v)
			}
			return nil
		},
	}
}

// rawReply sends a command and gets what comes first: some answer with pushes.
func rawReply(conn *ipc.Conn, words []string) (wire.Value, error) {
	if err := conn.Send(words...); err != nil {
		return wire.Value{}, err
	}
	v, err := conn.Receive()
	if err == nil {
		err = v.Err()
	}
	return v, err
}

func printValue(o *term.Output, indent term.Literal, v wire.Value) {
	switch v.Kind {
	case wire.KindArray, wire.KindSet, wire.KindPush:
		for _, e := range v.Elems {
			if nested(e) {
				o.Text(indent + "-\n")
				printValue(o, indent+"  ", e)
			} else {
				printValue(o, indent, e)
			}
		}
	case wire.KindMap:
		for i := 0; i+1 < len(v.Elems); i += 2 {
			o.Text(indent).Data(v.Elems[i].Text()).Text(":")
			if e := v.Elems[i+1]; nested(e) {
				o.Text("\n")
				printValue(o, indent+"  ", e)
			} else {
				o.Text(" ")
				printValue(o, "", e)
			}
		}
	case wire.KindVerbatim: // text with lines of its own
		for line := range strings.Lines(v.Str) {
			o.Text(indent).Data(strings.TrimRight(line, "\r\n")).Text("\n")
		}
	default:
		o.Text(indent).Data(v.Text()).Text("\n")
	}
}

func nested(v wire.Value) bool { return v.Elems != nil }
