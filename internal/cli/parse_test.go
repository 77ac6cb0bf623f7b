package cli

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

// parsed runs the parser over a command line as a shell would split it at blanks.
func parsed(line string) (*verb.Call, error) {
	c := &verb.Call{Table: verbs()}
	return c, c.Parse(strings.Fields(line))
}

func TestParseWords(t *testing.T) {
	for _, c := range []struct {
		line           string
		words, command string
	}{
		{"pub a/b hi", "a/b hi", ""},
		{"pub -e 2 a/b hi", "a/b hi", ""},
		{"pub a/b -e2 hi", "a/b hi", ""},
		{"pub a/b hi --expect=2", "a/b hi", ""},
		{"pub a/b -", "a/b -", ""},
		{"pub -- -a -e", "-a -e", ""},
		{"pub a -- -e", "a", "-e"},
		{"--json -v pub a", "a", ""},
		{"sub", "", ""},
		{"sub a b # -n 1", "a b #", ""},
		{"sub -n1 a -- cat -n", "a", "cat -n"},
		{"sub -- cat -- x", "", "cat -- x"},
		{"wait a -w5 -- true", "a", "true"},

		// lock understands what flock(1) does,
		{"lock f true", "f", "true"},
		{"lock -xn f true", "f", "true"},
		{"lock -w 5 -E 3 f true -n", "f", "true -n"},
		{"lock f ssh host -- rm x", "f", "ssh host -- rm x"},
		{"lock -- f -n true", "f", "-n true"},
		// and options after NAME,
		{"lock f -n true -n", "f", "true -n"},
		{"lock f -n -w5 -- -true", "f", "-true"},
		{"lock f -- -- x", "f", "-- x"},
		// and "--" before and after NAME.
		{"lock -- f -- true", "f", "true"},
		{"lock - true", "-", "true"},
		{"lock f -c true", "f", ""},

		// "--" in front of words that there must be ends the options.
		{"fence f 1 -- mv -- b", "f 1", "mv -- b"},
		{"fence -- -f 1 -- -x", "-f 1", "-x"},
		{"fence f 1", "f 1", ""},
		{"once -- -- -- true", "--", "true"},
	} {
		got, err := parsed(c.line)
		if err != nil {
			t.Errorf("%q: %v", c.line, err)
			continue
		}
		if w := strings.Join(got.Words, " "); w != c.words {
			t.Errorf("%q: words %q, want %q", c.line, w, c.words)
		}
		if w := strings.Join(got.Command, " "); w != c.command {
			t.Errorf("%q: command %q, want %q", c.line, w, c.command)
		}
	}
}

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		args string
		want request
	}{
		{"", request{conflict: unset}},
		{"-s", request{mode: shared, conflict: unset}},
		{"-s -x", request{mode: exclusive, conflict: unset}},
		{"-se", request{mode: exclusive, conflict: unset}},
		{"-a b --and=c -l 4 -U2", request{and: []string{"b", "c"}, limit: 4, units: 2, conflict: unset}},
		{"-xs", request{mode: shared, conflict: unset}},
		{"-u", request{mode: unlock, conflict: unset}},
		{"-sn", request{mode: shared, nonblock: true, conflict: unset}},
		{"--nb --shared", request{mode: shared, nonblock: true, conflict: unset}},
		{"-nw5", request{nonblock: true, timeout: verb.Span{Set: true, D: 5 * time.Second}, conflict: unset}},
		{"-w 0.5 -E0", request{timeout: verb.Span{Set: true, D: time.Second / 2}}},
		{"--timeout=300ms", request{timeout: verb.Span{Set: true, D: 300 * time.Millisecond}, conflict: unset}},
		{"--wait 2h --conflict-exit-code 9", request{timeout: verb.Span{Set: true, D: 2 * time.Hour}, conflict: 9}},
		{"-m why -oF", request{why: "why", conflict: unset}},
	} {
		l := lockVerb{request: request{conflict: unset}}
		p := verb.Parser{Options: append(l.options(), verb.Accepted('o', "close", ""), verb.Accepted('F', "no-fork", ""),
			verb.Pick('u', "unlock", &l.mode, unlock, ""))}
		p.Rest = strings.Fields(c.args)
		for len(p.Rest) > 0 {
			if err := p.Option(); err != nil {
				t.Fatalf("%q: %v", c.args, err)
			}
		}
		if !reflect.DeepEqual(l.request, c.want) {
			t.Errorf("%q: %+v, want %+v", c.args, l.request, c.want)
		}
	}
}

// What --on-lost runs is the same command line, made again of the options that were typed.
func TestParseTyped(t *testing.T) {
	for line, want := range map[string]string{
		"lock -nw5 f -a g -- true -n":              "-n --timeout=5 --and=g",
		"--user lock --on-lost TERM -m why f true": "--user --on-lost=TERM --why=why",
		"lock -e f -c true":                        "-e --command=true",
	} {
		got, err := parsed(line)
		if err != nil {
			t.Fatal(err)
		}
		if typed := strings.ReplaceAll(strings.Join(got.Typed, " "), "--nonblock", "-n"); typed != want {
			t.Errorf("%q: typed %q, want %q", line, typed, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ line, text, hint string }{
		{"lokc x", `cannot parse "lokc": no such verb`, "ipcctl lock? ipcctl -h lists them all"},
		{"unlock x", `cannot parse "unlock": no such verb`, "ipcctl release? ipcctl -h lists them all"},
		{"-p 1 acquire x", "cannot parse -p: no such option", "the options of a verb follow it: ipcctl VERB -p"},
		{"lock --pid 1 x", "cannot parse --pid: no such option", "ipcctl acquire has it; ipcctl lock -h lists them all"},
		{"xyzzy", `cannot parse "xyzzy": no such verb`, "ipcctl -h lists them all"},
		{"--jsno status", "cannot parse --jsno: no such option", "--json? ipcctl -h lists them all"},
		{"lock --tiemout 5 x true", "cannot parse --tiemout: no such option", "--timeout? ipcctl lock -h lists them all"},
		{"lock -z x true", "cannot parse -z: no such option", "ipcctl lock -h lists them all; a word that begins with - goes after --"},
		{"lock -nz x true", "cannot parse -z: no such option", "ipcctl lock -h lists them all; a word that begins with - goes after --"},
		{"lock x -w", "cannot parse -w: its value is missing", "-w, --timeout=D"},
		{"lock -wx x true", `cannot parse -w "x": expected a duration`, "300ms, 5 or 0.5 (seconds), 5min, 2h30m, 1d"},
		{"lock -w -1 x true", `cannot parse -w "-1": expected a duration`, "300ms, 5 or 0.5 (seconds), 5min, 2h30m, 1d"},
		{"lock -L 0 x true", `cannot parse -L "0": expected a duration above 0`, ""},
		{"acquire -L 0s x", `cannot parse -L "0s": expected a duration above 0`, ""},
		{"renew -L 0 x", `cannot parse -L "0": expected a duration above 0`, ""},
		{"lock -E 256 x true", `cannot parse -E "256": expected a number from 0 to 255`, ""},
		{"lock -l 1000001 x true", `cannot parse -l "1000001": expected a number from 1 to 1000000`, ""},
		{"lock --shared=yes x true", "cannot parse --shared=yes: the option takes no value", ""},
		{"lock --=x x true", "cannot parse --: no such option", "ipcctl lock -h lists them all; a word that begins with - goes after --"},
		{"sub -n 0", `cannot parse -n "0": expected a number from 1`, ""},
		{"sub -F %x", `cannot parse -F "%x": expected a field, not %x`, "%t topic, %p payload, %s number, %c count, %g group, %T time, %u uid, %P pid, %U unit, %e how the sender ended, %% a percent sign, %{content-type} a header"},
		{"pub", "cannot parse pub: TOPIC is missing", "ipcctl pub [-r] [-t D] [-H NAME=VALUE]… [-e N] TOPIC [PAYLOAD|-]"},
		{"pub a b c", `cannot parse "c": one word too many`, "ipcctl pub [-r] [-t D] [-H NAME=VALUE]… [-e N] TOPIC [PAYLOAD|-]"},
		{"status now", `cannot parse "now": status takes no words`, "ipcctl status"},
		{"wait a --", "cannot parse wait: CMD is missing after --", "ipcctl wait [-w D] FILTER"},
	} {
		_, err := parsed(c.line)
		var f *exit.Failure
		if !errors.As(err, &f) {
			t.Errorf("%q: error %v", c.line, err)
			continue
		}
		if f.Text != c.text || f.Hint != c.hint || f.Exit != exit.Usage {
			t.Errorf("%q: %q, hint %q, exit %d; want %q, hint %q", c.line, f.Text, f.Hint, f.Exit, c.text, c.hint)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("lock\x00-nw5\x00x\x00--\x00true")
	f.Add("--json\x00sub\x00-n\x001")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		// Without the descriptors of this process, which --status-fd would close on exec.
		if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--st") }) {
			return
		}
		err := (&verb.Call{Table: verbs()}).Parse(args)
		var known *exit.Failure
		if err != nil && (!errors.As(err, &known) || known.Exit != exit.Usage) {
			t.Errorf("%q: %v", args, err)
		}
	})
}

// TestElsewhere: what is meant by a word of elsewhere is a command line, and the word is no verb.
func TestElsewhere(t *testing.T) {
	for word, meant := range elsewhere {
		if _, err := verbs().Find(word); err == nil {
			t.Errorf("%s is a verb", word)
		}
		if c, err := parsed(strings.Replace(meant, "--kill", "--kill=1", 1)); c.Verb == nil || err != nil && len(c.Words) > 0 {
			t.Errorf("%s: %q: %v", word, meant, err)
		}
	}
}
