package wire_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

func TestCommands(t *testing.T) {
	for i := range wire.Commands {
		c := &wire.Commands[i]
		words := strings.Fields(c.Name)
		switch {
		case c.Name != strings.ToUpper(strings.Join(words, " ")) || len(words) < 1 || len(words) > 2:
			t.Errorf("%q is no name of a command", c.Name)
		case c.Min < len(words) || c.Max != 0 && c.Max < c.Min:
			t.Errorf("%s takes %d to %d words", c.Name, c.Min, c.Max)
		case c.Summary == "" || strings.HasSuffix(c.Summary, ".") || c.Reply == "":
			t.Errorf("%s: summary %q, reply %q", c.Name, c.Summary, c.Reply)
		case (c.Args == "") != (c.Max == len(words)) && c.Name != "QUIT" && c.Name != "COMMAND": // which look at what follows themselves
			t.Errorf("%s takes %d to %d words and describes %q", c.Name, c.Min, c.Max, c.Args)
		}
		for _, code := range c.Errors {
			if code.Info().Code != code {
				t.Errorf("%s: %s is no code", c.Name, code)
			}
		}
		if found, ok := wire.FindCommand(strings.ToLower(c.Name)); !ok || found != c {
			t.Errorf("%s is listed twice", c.Name)
		}
		if c.Family.String() == "" || c.Access.String() == "" {
			t.Errorf("%s: %v, %v", c.Name, c.Family, c.Access)
		}
	}
	if _, ok := wire.FindCommand("CLIENT"); ok {
		t.Error("CLIENT alone is found")
	}
}

// TestNames: a row that asks for access to what it names knows all words that are names, as its Args describe them, and how many
// words belong to each of its options.
func TestNames(t *testing.T) {
	names := []string{"topic", "channel", "filter", "pattern", "name", "key"}
	for i := range wire.Commands {
		c := &wire.Commands[i]
		if c.Access == wire.AccessNone || c.Access == wire.AccessAdmin {
			if c.Names.First || c.Names.Rest || c.Names.Options != nil {
				t.Errorf("%s asks for no access to what it names", c.Name)
			}
			if first, _, _ := strings.Cut(c.Args, " "); c.Family != wire.FamilyRedis && slices.Contains(names, first) {
				t.Errorf("%s names something, and asks for no access to it", c.Name)
			}
			continue
		}
		first, rest, _ := strings.Cut(c.Args, " ")
		if !c.Names.First || !slices.Contains(names, first) {
			t.Errorf("%s asks for access, and the first of %q is no name: %v", c.Name, c.Args, c.Names.First)
		}
		if more := rest == "["+first+" …]"; more != c.Names.Rest {
			t.Errorf("%s: all of %q are names: %v", c.Name, c.Args, c.Names.Rest)
		} else if more {
			continue
		}
		special := map[string]wire.Option{}
		for _, o := range c.Names.Options {
			special[o.Word] = o
		}
		for _, group := range strings.FieldsFunc(rest, func(r rune) bool { return r == '[' || r == ']' }) {
			for _, option := range strings.Split(group, " | ") {
				words := strings.Fields(strings.TrimSuffix(option, " …"))
				if len(words) == 0 || words[0] != strings.ToUpper(words[0]) { // a value behind the name
					continue
				}
				o := wire.Option{Word: words[0], Values: len(words) - 1, Name: 1 + slices.IndexFunc(words[1:], func(w string) bool { return slices.Contains(names, w) })}
				known, isSpecial := special[o.Word]
				delete(special, o.Word)
				switch {
				case c.Names.Options == nil && o.Name == 0: // of none of its options are the words looked at
				case isSpecial && known != o, !isSpecial && (o.Name != 0 || o.Values != 1):
					t.Errorf("%s: %q is %+v, and the row says %+v", c.Name, option, o, known)
				}
			}
		}
		for word := range special {
			t.Errorf("%s has no option %s", c.Name, word)
		}
	}
}

func TestArity(t *testing.T) {
	for name, want := range map[string]int{"PING": -1, "PUBLISH": 3, "SUBSCRIBE": -2, "CLIENT ID": 2, "LOCK.ACQUIRE": -2} {
		if c, ok := wire.FindCommand(name); !ok || c.Arity() != want {
			t.Errorf("%s: %v, want %d", name, c, want)
		}
	}
}

func TestNearestCommand(t *testing.T) {
	for name, want := range map[string]string{
		"PUBLSH":       "PUBLISH",
		"pign":         "PING",
		"LOCK.ACQUIER": "LOCK.ACQUIRE",
		"LOCK.RELAESE": "LOCK.RELEASE",
		"BUS.PUBLISH":  "",
		"client lst":   "CLIENT LIST",
		"GET":          "",
		"":             "",
		"HGETALL":      "",
	} {
		if got := wire.NearestCommand(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
