package conformance

import (
	"regexp"
	"slices"
	"strings"
)

// A deviation is something that ipcd does otherwise than Redis 7, on purpose. Where it stands for a frame that only one of
// the two sends, the other's pattern is empty.
type deviation struct {
	why   string
	line  string // what was sent, as in the script
	redis string // what Redis answers, and ipcd; a regular expression each, of a whole frame
	ipcd  string
}

var deviations = []deviation{
	{"an unknown command is answered with the name of the nearest, and without a blank at the end",
		`.*`, `-ERR unknown command .*`, `-ERR unknown command .*`},
	{"likewise an unknown subcommand", `.*`, `-ERR unknown subcommand.*`, `-ERR unknown subcommand.*`},
	{"a command that only Redis has", `.*(SET|GET|GETKEYS).*`, `-ERR (wrong number of arguments|Can't execute) .*`,
		`-ERR unknown (sub)?command .*`},
	{"ipcd does not claim to be Redis", `.*HELLO.*`, `.*\r\nredis\r\n.*`, `.*\r\nipcd\r\n.*`},
	{"who a peer is comes from the kernel", `.*AUTH.*`, `.*`, `-ERR AUTH is not used here: .*`},
	{"a protocol error has a code of its own", `.*`, `-ERR Protocol error.*`, `-PROTO protocol error.*`},
	{"BUS.SUB is allowed, too", `.*`, `-ERR Can't execute .*`, `-ERR Can't execute .*BUS.SUB / BUS.UNSUB.*`},
	{"there is one index", `.*SELECT.*`, `\+OK\r\n`, `-ERR DB index is out of range\r\n`},
	{"the time goes on", `.*TIME`, `\*2\r\n\$10\r\n\d+\r\n\$\d\r\n\d+\r\n`, `\*2\r\n\$10\r\n\d+\r\n\$\d\r\n\d+\r\n`},
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

// unorder sorts what Redis gives in the order of a hash table, that is, in none: the names that UNSUBSCRIBE without
// arguments ends (whose counts stay in their places), the patterns by which a message came to one connection, and the
// list of PUBSUB CHANNELS.
func unorder(s step, frames []frame) []frame {
	out := slices.Clone(frames)
	if strings.Contains(s.line, "PUBSUB CHANNELS") {
		for i := range out {
			out[i].text = sortChannels(out[i].text)
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

// kind is the first word of a push.
func kind(text string) string {
	parts := strings.SplitN(text, "\r\n", 4)
	if len(parts) < 4 || text[0] != '*' && text[0] != '>' {
		return ""
	}
	return parts[2]
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
