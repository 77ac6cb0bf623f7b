package conformance

import (
	"bufio"
	"regexp"
	"slices"
	"strings"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// A deviation is something that ipcd does otherwise than Redis 7, on purpose.
type deviation struct {
	why   string
	line  string // what was sent, as in the script
	redis string // what Redis answers, and ipcd; a regular expression each, of a whole frame
	ipcd  string
}

// hello is what the two have in common in the reply to HELLO.
const hello = `\r\n\$7\r\nversion\r\n.*\r\n\$5\r\nproto\r\n:[23]\r\n\$2\r\nid\r\n:\d+\r\n\$4\r\nmode\r\n\$10\r\nstandalone\r\n` +
	`\$4\r\nrole\r\n\$6\r\nmaster\r\n\$7\r\nmodules\r\n\*0\r\n`

var deviations = []deviation{
	{"ipcd never says that it is Redis; and it tells its process, as a service manager's socket does not, and its limits",
		`.*`, `(%7|\*14)\r\n\$6\r\nserver\r\n\$5\r\nredis` + hello, `[%*]\d+\r\n\$6\r\nserver\r\n\$4\r\nipcd` + hello + `\$3\r\npid\r\n:\d+\r\n.*`},
	{"the time goes on between the two",
		`.> TIME`, `\*2\r\n\$10\r\n\d{10}\r\n\$\d\r\n\d{1,6}\r\n`, `\*2\r\n\$10\r\n\d{10}\r\n\$\d\r\n\d{1,6}\r\n`},
	{"each numbers its connections",
		`.> CLIENT ID`, `:\d+\r\n`, `:\d+\r\n`},
	{"there is one data base",
		`.> SELECT 1`, `\+OK\r\n`, `-ERR DB index is out of range\r\n`},
	{"there are no passwords: who a peer is comes from the kernel",
		`.> (HELLO 2 )?AUTH .*`, `(\+OK|-ERR AUTH <password> called|\*14).*`, `-ERR AUTH is not used here: who you are is known from the kernel \(uid \d+\)\r\n`},

	{"of an unknown command the nearest is named; there is no blank at the end, and no control character for terminals",
		`.*`, `-ERR unknown command '.*', with args beginning with: .*`, `-ERR unknown command '.*', with args beginning with:.*`},
	{"of an unknown subcommand the nearest is named; there is no HELP",
		`.*`, `-ERR unknown subcommand '\w+'\. Try \w+ HELP\.\r\n`, `-ERR unknown subcommand '\w+'( \(did you mean [\w -]+\?\))?\r\n`},
	{"there are no keys, so no commands for them",
		`.*\b(GET|SET|GETKEYS)\b.*`, `-ERR (wrong number of arguments for '(set|command\|getkeys)' command|Can't execute 'get').*`, `-ERR unknown (sub)?command '(GET|SET|GETKEYS)'.*`},
	{"a subscriber on RESP2 may have filters, too",
		`.*`,
		`-(ERR|EXECABORT Transaction discarded because of:) Can't execute '[\w|]+': only \(P\|S\)SUBSCRIBE / \(P\|S\)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n`,
		`-(ERR|EXECABORT Transaction discarded because of:) Can't execute '[\w|]+': only \(P\|S\)SUBSCRIBE / \(P\|S\)UNSUBSCRIBE / BUS\.SUB / BUS\.UNSUB / PING / QUIT / RESET are allowed in this context\r\n`},

	{"what begins with ipcd/ is said by the daemon alone",
		`.> PUBLISH ipcd/x x`, `:0\r\n`, `-DENIED .*`},
}

func findDeviation(s step, redis, ipcd frame) *deviation {
	if redis.conn != ipcd.conn {
		return nil
	}
	for i := range deviations {
		d := &deviations[i]
		if whole(d.line, s.line) && whole(d.redis, redis.text) && whole(d.ipcd, ipcd.text) {
			return d
		}
	}
	return nil
}

func whole(pattern, s string) bool {
	return regexp.MustCompile(`(?is)^(?:` + pattern + `)$`).MatchString(s)
}

var isHello = regexp.MustCompile(`^\*\d+\r\n\$6\r\nserver\r\n`)

// unpack takes apart what EXEC is answered with, and has messages to the connection itself come last. Redis 7.0 puts them into the
// midst of that array, which has more elements then than it says; later versions send them behind it, and ipcd before it.
func unpack(conn, sent string, frames []frame) (out []frame) {
	var messages []frame
	channels := strings.Contains(sent, "CHANNELS")
	var add func(f frame)
	add = func(f frame) {
		switch word := kind(f.text); {
		case f.conn == conn && (word == "message" || word == "pmessage"):
			messages = append(messages, f)
		case f.conn != conn || word != "" || f.text[0] != '*' || isHello.MatchString(f.text):
			out = append(out, f)
		default:
			if channels {
				f.text = sortChannels(f.text)
			}
			head, rest, _ := strings.Cut(f.text, "\r\n")
			out = append(out, frame{conn, head})
			for r := bufio.NewReader(strings.NewReader(rest)); ; {
				element, err := testdaemon.ReadFrame(r)
				if err != nil {
					break
				}
				add(frame{conn, element})
			}
		}
	}
	for _, f := range frames {
		add(f)
	}
	return append(out, messages...)
}

// unorder sorts what Redis gives in the order of a hash table, that is, in none: the names that UNSUBSCRIBE without
// arguments ends (whose counts stay in their places), the patterns by which a message came to one connection, and the
// list of PUBSUB CHANNELS.
func unorder(s step, frames []frame) []frame {
	out := slices.Clone(frames)
	if strings.Contains(strings.ToUpper(s.send), "EXEC") {
		out = unpack(s.conn, s.send, out)
	}
	if strings.Contains(s.send, "CHANNELS") {
		for i := range out {
			if kind(out[i].text) == "" {
				out[i].text = sortChannels(out[i].text)
			}
		}
	}
	for from := 0; from < len(out); {
		to := from + 1
		for to < len(out) && out[to].conn == out[from].conn && kind(out[to].text) == kind(out[from].text) {
			to++
		}
		switch run := out[from:to]; kind(out[from].text) {
		case "pmessage":
			slices.SortFunc(run, func(a, b frame) int { return strings.Compare(a.text, b.text) })
		case "unsubscribe", "punsubscribe":
			sortNames(run)
		}
		from = to
	}
	return out
}

// kind is the first word of a push, "" if it is none. No script has a channel of such a name.
func kind(text string) string {
	parts := strings.SplitN(text, "\r\n", 4)
	if len(parts) == 4 && slices.Contains([]string{"message", "pmessage", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"}, parts[2]) {
		return parts[2]
	}
	return ""
}

func sortNames(run []frame) {
	names := make([]string, len(run))
	tails := make([]string, len(run))
	for i, f := range run {
		at := strings.LastIndex(f.text, "\r\n:")
		names[i], tails[i] = f.text[:at], f.text[at:]
	}
	slices.Sort(names)
	for i := range run {
		run[i].text = names[i] + tails[i]
	}
}

// sortChannels sorts an array of nothing but bulk strings.
func sortChannels(text string) string {
	lines := strings.Split(text, "\r\n")
	if len(lines) < 5 || lines[0][0] != '*' || len(lines)%2 != 0 {
		return text
	}
	var items []string
	for i := 1; i+1 < len(lines); i += 2 {
		if lines[i] == "" || lines[i][0] != '$' {
			return text
		}
		items = append(items, lines[i]+"\r\n"+lines[i+1])
	}
	slices.Sort(items)
	return lines[0] + "\r\n" + strings.Join(items, "\r\n") + "\r\n"
}
