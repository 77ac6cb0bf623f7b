package verb

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/cli/exit"
)

// worldOf is a table of two verbs: one runs CMD behind NAME as flock(1) does, the other takes a word and perhaps CMD after "--".
func worldOf(number *int) *Table {
	hold := func() *Verb {
		return &Verb{Name: "hold", Group: "G", Synopsis: []string{"NAME CMD"}, Words: []string{"NAME"}, Most: 1, Grammar: NameCommand,
			Options: []Option{Number('n', "number", "N", number, 1, 9, "help"), List('a', "and", "NAME", new([]string), "help")}}
	}
	hear := func() *Verb {
		return &Verb{Name: "hear", Group: "G", Synopsis: []string{"WORD"}, Words: []string{"WORD"}, Least: 1, Most: 1, Grammar: WordsCommand}
	}
	return &Table{Rows: []Row{{Name: "hold", Make: hold}, {Name: "hear", Make: hear}, {Name: "hidden", Make: func() *Verb { return &Verb{} }}},
		Elsewhere: map[string]string{"listen": "hear"}}
}

func TestGrammars(t *testing.T) {
	for line, want := range map[string]string{
		"hold x true -n 2":         "x; true -n 2",
		"hold -n2 x -a y -- -n":    "x; -n",
		"hold x -- a -- b":         "x; a -- b",
		"hear x":                   "x; ",
		"hear x -- cmd -- more":    "x; cmd -- more",
		"--json hear -q -- -x":     "-x; ",
		"hold -n 10 x true":        `cannot parse -n "10": expected a number from 1 to 9`,
		"hear":                     "cannot parse hear: WORD is missing",
		"hear a b":                 `cannot parse "b": one word too many`,
		"hear -n 1 a":              "cannot parse -n: no such option",
		"listen x":                 `cannot parse "listen": no such verb`,
		"--socket a --user hear x": "cannot parse --user: --socket names a daemon already",
	} {
		var n int
		c := &Call{Table: worldOf(&n)}
		err := c.Parse(strings.Fields(line))
		got := strings.Join(c.Words, " ") + "; " + strings.Join(c.Command, " ")
		var failed *exit.Failure
		if errors.As(err, &failed) {
			got = failed.Text
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestMeantVerb(t *testing.T) {
	for name, want := range map[string]string{"hodl": "ipcctl hold? ", "listen": "ipcctl hear? ", "hiden": "", "xyzzy": ""} {
		_, err := worldOf(new(int)).Find(name)
		var failed *exit.Failure
		if !errors.As(err, &failed) || failed.Hint != want+"ipcctl -h lists them all" {
			t.Errorf("%s: %v", name, failed)
		}
	}
}

// TestCompleter: what is offered for the last word, which is unfinished. "<NAME" stands for all that a value of that name can be.
func TestCompleter(t *testing.T) {
	for line, want := range map[string][]string{
		"":                {"<VERB "},
		"he":              {"<VERB he"},
		"hold ":           {"<NAME "},
		"hold -n ":        {"<N "},
		"hold --number=1": {"<N 1"},
		"hold --n":        {"--number="},
		"hold --and x y":  {"<NAME y"},
		"hold x ":         {"command 3"},
		"hear x -- ":      {"command 4"},
		"hear x y":        nil,
		"nothing x":       nil,
	} {
		var got []string
		k := Completer{
			Call: &Call{Table: worldOf(new(int))},
			Offer: func(word, help string) {
				if word == "" {
					word = help
				}
				got = append(got, word)
			},
			Values: func(name, _, begun string) { got = append(got, "<"+name+" "+begun) },
		}
		words := strings.Split(line, " ")
		k.Line(words[:len(words)-1], words[len(words)-1])
		if !slices.Equal(got, want) {
			t.Errorf("%q: offered %q, want %q", line, got, want)
		}
	}
}
