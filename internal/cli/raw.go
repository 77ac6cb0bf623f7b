package cli

import (
	"strings"

	"github.com/ipcd/ipcd/ipc"
)

func raw() *Verb {
	return &Verb{
		Name:     "raw",
		Group:    "The daemon",
		Summary:  "Send any command and print the reply",
		Synopsis: []string{"[--] COMMAND [ARG…]"},
		About: []string{
			"Sends COMMAND as it is, over RESP3, and prints what comes back: a line for each element, what is nested indented, a " +
				"map as `key: value`; with `--json` as one line of JSON. An error reply goes to standard error, and its code " +
				"becomes the exit status.",
			"Only the first reply is printed. Then the connection ends, and with it what belongs to it: subscriptions, what ASYNC still " +
				"waits for, and locks that were not acquired for somebody else.",
			"An argument that begins with `-` needs `--` in front of the command.",
		},
		Examples: []Example{
			{"ipcctl raw COMMAND LIST", "What there is."},
			{"ipcctl raw --json LOCK.INFO backup", "What the daemon says, for a program."},
		},
		Exits: []int{exitData, exitNotFound, exitBusy, exitConfig, exitDeadlock, exitNoLock, exitTimeout},
		words: []string{"COMMAND", "ARG"},
		least: 1,
		most:  many,
		run: func(c *call) error {
			if command := strings.ToUpper(strings.Join(c.words, " ")); command == "CLIENT REPLY OFF" || command == "CLIENT REPLY SKIP" {
				return unparsed(command, "there would be no reply to print")
			}
			conn, err := c.dial3()
			if err != nil {
				return err
			}
			defer conn.Close()
			v, err := rawReply(conn, c.words)
			if err != nil {
				return cannot("carry out "+strings.ToUpper(c.words[0]), err)
			}
			if c.json {
				c.out.json(appendValue(nil, v))
			} else {
				printValue(c.out, "", v)
			}
			return nil
		},
	}
}

// rawReply sends a command and gets what comes first: some answer with pushes.
func rawReply(conn *ipc.Conn, words []string) (ipc.Value, error) {
	if err := conn.Send(words...); err != nil {
		return ipc.Value{}, err
	}
	v, err := conn.Receive()
	if err == nil {
		err = v.Err()
	}
	return v, err
}

func printValue(o *output, indent literal, v ipc.Value) {
	switch v.Kind {
	case ipc.KindArray, ipc.KindSet, ipc.KindPush:
		for _, e := range v.Elems {
			if nested(e) {
				o.text(indent + "-\n")
				printValue(o, indent+"  ", e)
			} else {
				printValue(o, indent, e)
			}
		}
	case ipc.KindMap:
		for i := 0; i+1 < len(v.Elems); i += 2 {
			o.text(indent).data(v.Elems[i].Text()).text(":")
			if e := v.Elems[i+1]; nested(e) {
				o.text("\n")
				printValue(o, indent+"  ", e)
			} else {
				o.text(" ")
				printValue(o, "", e)
			}
		}
	case ipc.KindVerbatim: // text with lines of its own
		for line := range strings.Lines(v.Str) {
			o.text(indent).data(strings.TrimRight(line, "\r\n")).text("\n")
		}
	default:
		o.text(indent).data(v.Text()).text("\n")
	}
}

func nested(v ipc.Value) bool { return v.Elems != nil }
