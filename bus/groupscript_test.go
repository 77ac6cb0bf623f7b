package bus

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestGroupScripts runs testdata/groups/*.txt, as TestScripts does, on new Groups each, in which 3 messages of 10 bytes may wait. The
// commands, where S is a member:
//
//	join S FILTER [group G]    Join
//	leave S FILTER [group G]   Leave
//	drop S [some N]            Drop, as often as it takes, or once
//	pub TOPIC M [bytes N]      Search, and Put in each; of 1 byte, or N
//	free S…, busy S…           Free, Busy
//	full S…, empty S…          from now on Takes says that S cannot take anything, or can
//	take S FILTER [group G] N  Take
//	room N                     from now on Keep says that N bytes may wait in a group
//	sent S N                   Sent
//	step                       Next, once
//
// After each other command Next is called as often as it gives something, unless the script has said "by steps". What it gives is
// printed, and all invariants are checked.
func TestGroupScripts(t *testing.T) {
	runScripts(t, "testdata/groups/*.txt", func() world {
		w := &groupWorld{Groups: Groups[string, string]{Verify: true, MostQueued: 3, MostBytes: 10}, full: map[string]bool{}, room: 10}
		w.Takes = func(s string) bool { return !w.full[s] }
		w.Keep = func(_ *Group[string, string], bytes int) bool { return bytes <= w.room }
		return w
	})
}

type groupWorld struct {
	Groups[string, string]
	bySteps bool
	full    map[string]bool
	room    int
}

func (w *groupWorld) run(t *testing.T, line string, out *strings.Builder) {
	words := splitWords(t, line)
	name, args := words[0], words[1:]
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return n
	}
	option := func(word string, otherwise int) int {
		if i := slices.Index(args, word); i >= 0 {
			return number(args[i+1])
		}
		return otherwise
	}
	sharing := func() Sharing {
		of := Sharing{Filter: args[1]}
		if i := slices.Index(args, "group"); i >= 0 {
			of.Group = args[i+1]
		}
		return of
	}
	steps := math.MaxInt
	if w.bySteps {
		steps = 0
	}
	switch name {
	case "join":
		if joined, err := w.Join(args[0], sharing()); err != nil || !joined {
			fmt.Fprintf(out, "join: %v, %v\n", joined, err)
		}
	case "leave":
		if ended, found := w.Leave(args[0], sharing()); !found || ended > 0 {
			fmt.Fprintf(out, "leave: found %v, %d end\n", found, ended)
		}
	case "drop":
		for more := true; more; {
			var ended int
			if ended, more = w.Drop(args[0], option("some", 1)); ended > 0 || len(args) > 1 {
				fmt.Fprintf(out, "drop: %d end, more %v\n", ended, more)
			}
			more = more && len(args) == 1
		}
	case "pub":
		found, rest := w.Search([]byte(args[0]), math.MaxInt)
		if rest != nil || len(found) == 0 {
			fmt.Fprintf(out, "pub: %d groups, more %v\n", len(found), rest != nil)
		}
		for _, group := range slices.Clone(found) {
			if taken, lost := w.Put(group, args[1], option("bytes", 1)); !taken || lost > 0 {
				fmt.Fprintf(out, "pub: taken %v, lost %d\n", taken, lost)
			}
		}
	case "free":
		for _, s := range args {
			w.Free(s)
		}
	case "busy":
		for _, s := range args {
			w.Busy(s)
		}
	case "full", "empty":
		for _, s := range args {
			w.full[s] = name == "full"
		}
	case "take":
		if !w.Take(args[0], sharing(), number(args[len(args)-1])) {
			fmt.Fprintf(out, "take: no member\n")
		}
	case "room":
		w.room = number(args[0])
	case "sent":
		w.Sent(args[0], number(args[1]))
	case "by":
		w.bySteps = true
	case "step":
		steps = 1
	default:
		t.Fatalf("no command %q", name)
	}
	for more := true; more && steps > 0; steps-- {
		var given Given[string, string]
		var ok bool
		if given, ok, more = w.Next(); ok {
			fmt.Fprintf(out, "  %s to %s of %s", given.Message, given.To, given.Of)
			if given.Lost > 0 {
				fmt.Fprintf(out, ", lost %d", given.Lost)
			}
			out.WriteByte('\n')
		}
	}
}
