package ipc_test

import (
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc"
)

func TestCommands(t *testing.T) {
	for i := range ipc.Commands {
		c := &ipc.Commands[i]
		words := strings.Fields(c.Name)
		switch {
		case c.Name != strings.ToUpper(strings.Join(words, " ")) || len(words) < 1 || len(words) > 2:
			t.Errorf("%q is no name of a command", c.Name)
		case c.Min < len(words) || c.Max != 0 && c.Max < c.Min:
			t.Errorf("%s takes %d to %d words", c.Name, c.Min, c.Max)
		case c.Summary == "" || strings.HasSuffix(c.Summary, ".") || c.Reply == "":
			t.Errorf("%s: summary %q, reply %q", c.Name, c.Summary, c.Reply)
		case (c.Args == "") != (c.Max == len(words)) && c.Name != "QUIT": // which ignores what follows
			t.Errorf("%s takes %d to %d words and describes %q", c.Name, c.Min, c.Max, c.Args)
		}
		for _, code := range c.Errors {
			if code.Info().Code != code {
				t.Errorf("%s: %s is no code", c.Name, code)
			}
		}
		if found, ok := ipc.FindCommand(strings.ToLower(c.Name)); !ok || found != c {
			t.Errorf("%s is listed twice", c.Name)
		}
		if c.Family.String() == "" || c.Access.String() == "" {
			t.Errorf("%s: %v, %v", c.Name, c.Family, c.Access)
		}
	}
	if _, ok := ipc.FindCommand("CLIENT"); ok {
		t.Error("CLIENT alone is found")
	}
}

func TestArity(t *testing.T) {
	for name, want := range map[string]int{"PING": -1, "PUBLISH": 3, "SUBSCRIBE": -2, "CLIENT ID": 2, "LOCK.ACQUIRE": -2} {
		if c, ok := ipc.FindCommand(name); !ok || c.Arity() != want {
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
		if got := ipc.NearestCommand(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
