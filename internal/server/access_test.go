package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/policy"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// namesIn are the arguments that policy is asked about, in order.
func namesIn(row *wire.Command, args ...string) (all []string) {
	var words [][]byte
	for _, a := range args {
		words = append(words, []byte(a))
	}
	for at := 0; ; {
		name, next := nextName(&row.Names, words, at)
		if name < 0 {
			return all
		}
		all = append(all, args[name])
		at = next
	}
}

func TestNamesInArguments(t *testing.T) {
	for _, c := range []struct{ command, args, want string }{
		{"PUBLISH", "a b", "a"},
		{"BUS.PUB", "a b REQID c", "a"},
		{"SUBSCRIBE", "a b c", "a b c"},
		{"LOCK.ACQUIRE", "a", "a"},
		{"LOCK.ACQUIRE", "a AND b and c", "a b c"},
		{"LOCK.ACQUIRE", "a SHARED AND b UNTOLD ASYNC EXCLUSIVE AND c", "a b c"},
		{"LOCK.ACQUIRE", "a WAIT 5 AND b WITH 7 c WITH 8 d", "a b c d"},
		{"LOCK.ACQUIRE", "AND AND AND", "AND AND"},
		{"LOCK.ACQUIRE", "a WHY AND WITH 7 c", "a c"},
		{"LOCK.ACQUIRE", "a WHY WITH OWNER AND", "a"},
		{"LOCK.ACQUIRE", "a AND", "a"},
		{"LOCK.ACQUIRE", "a WITH 7", "a"},
		{"LOCK.ACQUIRE", "a NONSENSE AND b", "a"}, // which is refused as a whole
		{"LOCK.RELEASE", "a 7 REQID AND", "a"},
	} {
		row, ok := wire.FindCommand(c.command)
		if !ok {
			t.Fatal(c.command)
		}
		if got := strings.Join(namesIn(row, strings.Fields(c.args)...), " "); got != c.want {
			t.Errorf("%s %s names %q, want %q", c.command, c.args, got, c.want)
		}
	}
}

// TestAccessIsAskedFirst: of each row that names something, access to each of the names is asked for before the handler runs, and
// it does not run if one of them is refused.
func TestAccessIsAskedFirst(t *testing.T) {
	m := newManual(t, 1)
	client := m.connect(true)
	sess := m.of(client)
	sess.Peer.UID++ // is neither root nor who the daemon runs as
	asked := 0
	for i := range wire.Commands {
		row := &wire.Commands[i]
		c := m.commands.find([]byte(strings.Fields(row.Name)[0]))
		if c.Command != row {
			c = c.subs[strings.Fields(row.Name)[1]]
		}
		ran := false
		c.run = func(*session.Call) { ran = true }
		try := func(args []string) string {
			t.Helper()
			ran = false
			var words [][]byte
			for _, w := range append(strings.Fields(row.Name), args...) {
				words = append(words, []byte(w))
			}
			for len(words) < row.Min {
				words = append(words, []byte("1"))
			}
			m.set.EndTurn() // or on a busy machine the user may have had his time, and would wait
			m.execute(sess, words)
			m.set.Net.FlushAll()
			return client.take()
		}
		if got := try(nil); row.Access == wire.AccessAdmin {
			if ran || got != fmt.Sprintf("-DENIED %s is for root and the user of the daemon\r\n", row.Name) {
				t.Errorf("%s: it ran: %v, %q", row.Name, ran, got)
			}
			continue
		} else if !ran || got != "" {
			t.Errorf("%s: it ran: %v, %q", row.Name, ran, got)
		}
		for _, args := range commandsThatName(row, "ipcd/a") {
			asked++
			refused := m.rules.Allow(policy.Peer{UID: sess.Peer.UID}, row.Access, []byte("ipcd/a")) != nil
			if got := try(args); ran == refused || strings.HasPrefix(got, "-DENIED ") != refused {
				t.Errorf("%s %q: it ran: %v, %q", row.Name, args, ran, got)
			}
		}
		if row.Access == wire.AccessLook || row.Access == wire.AccessLock || row.Access == wire.AccessBreak {
			for _, args := range commandsThatName(row, "a\x00") {
				if got := try(args); ran || !strings.HasPrefix(got, "-BADNAME ") {
					t.Errorf("%s %q: it ran: %v, %q", row.Name, args, ran, got)
				}
			}
		}
	}
	if asked < 15 {
		t.Errorf("%d names are asked for", asked)
	}
}

// commandsThatName are arguments of a command, each with a name in another one of the places that are for names.
func commandsThatName(row *wire.Command, name string) (all [][]string) {
	if !row.Names.First {
		return nil
	}
	all = append(all, []string{name})
	if row.Names.Rest {
		all = append(all, []string{"a", name}, []string{"a", "b", name})
	}
	for _, o := range row.Names.Options {
		if o.Name > 0 {
			values := slices.Repeat([]string{"1"}, o.Values)
			values[o.Name-1] = name
			all = append(all, append([]string{"a", strings.ToLower(o.Word)}, values...), append([]string{"a", "WHY", "b", o.Word}, values...))
		}
	}
	return all
}
