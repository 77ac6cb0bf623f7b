package bus

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRequestScripts runs testdata/requests/*.txt, as TestScripts does, on a new Requests each. The commands, where S is one who asks
// or serves, and times are numbers:
//
//	serve S FILTER [group G] [most N]      Serve
//	unserve S FILTER [group G] [some N]    Unserve: at most N are told of
//	ask S TOPIC [replies N|all] [repeatable] [until T] [deadline T]
//	offer FILTER [some N]                  Offer, as many steps as it takes, or N
//	reply S ID [more|failed]               Reply
//	cancel S ID                            Cancel
//	drop S [some N]                        Drop, as often as it takes, or once
//	expire T [some N]                      Expire
//	deadline                               Deadline
//	services S                             Services
//	full S, free S                         from now on it takes no more; it takes some again
//
// After each command its effects are printed, and all invariants are checked.
func TestRequestScripts(t *testing.T) {
	runScripts(t, "testdata/requests/*.txt", func() world {
		w := &requestWorld{full: map[string]bool{}}
		w.Verify = true
		w.Takes = func(s, _ string) bool { return !w.full[s] }
		return w
	})
}

type requestWorld struct {
	Requests[string, string]
	full map[string]bool
}

func (w *requestWorld) run(t *testing.T, line string, out *strings.Builder) {
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
		i := slices.Index(args, word)
		switch {
		case i < 0:
			return otherwise
		case args[i+1] == "all":
			return AllReplies
		}
		return number(args[i+1])
	}
	sharing := func() Sharing {
		of := Sharing{Filter: args[1]}
		if i := slices.Index(args, "group"); i >= 0 {
			of.Group = args[i+1]
		}
		return of
	}
	failed := func(err error) {
		if err != nil {
			fmt.Fprintf(out, "%s: %v\n", name, err)
		}
	}
	switch name {
	case "serve":
		added, err := w.Serve(args[0], sharing(), option("most", 0))
		if failed(err); err == nil && !added {
			out.WriteString("serve: did so\n")
		}
	case "unserve":
		if left, found := w.Unserve(args[0], sharing(), option("some", math.MaxInt)); !found || left > 0 {
			fmt.Fprintf(out, "unserve: found %v, left %d\n", found, left)
		}
	case "ask":
		id, err := w.Ask(Ask[string, string]{
			Asker: args[0], Topic: args[1], Value: args[0] + "'s", Replies: option("replies", 1), Repeatable: slices.Contains(args, "repeatable"),
			Until: time.Duration(option("until", 0)), Deadline: time.Duration(option("deadline", 0)),
		})
		if failed(err); err == nil {
			fmt.Fprintf(out, "ask: %d\n", id)
		}
		if full, ok := err.(*FullError[string]); ok {
			fmt.Fprintf(out, "  such as %s\n", full.Responder)
		}
	case "offer":
		o := w.Offer(args[0])
		for n := option("some", math.MaxInt); n > 0 && o.Next(); n-- {
		}
	case "reply":
		how := Answered
		switch {
		case slices.Contains(args, "more"):
			how = Part
		case slices.Contains(args, "failed"):
			how = Failed
		}
		failed(w.Reply(args[0], RequestID(number(args[1])), how))
	case "cancel":
		if !w.Cancel(args[0], RequestID(number(args[1]))) {
			out.WriteString("cancel: has none\n")
		}
	case "drop":
		if n := option("some", 0); n > 0 {
			fmt.Fprintf(out, "drop: more %v\n", w.Drop(args[0], n))
			break
		}
		for w.Drop(args[0], 1) {
		}
	case "expire":
		if w.Expire(time.Duration(number(args[0])), option("some", math.MaxInt)) {
			out.WriteString("expire: more\n")
		}
	case "deadline":
		at, ok := w.Deadline()
		fmt.Fprintf(out, "deadline: %d, %v\n", at, ok)
	case "services":
		fmt.Fprintf(out, "services: %d: %s\n", w.Serves(args[0]), w.Services(args[0]))
	case "full", "free":
		w.full[args[0]] = name == "full"
	default:
		t.Fatalf("no command %q", name)
	}
	for _, e := range w.Effects() {
		switch e.Kind {
		case Over:
			fmt.Fprintf(out, "  %s of %d: over, %s, %d answers", e.Value, e.ID, e.How, e.Answers)
			if e.Responder != "" {
				fmt.Fprintf(out, ": %s", e.Responder)
			}
			out.WriteByte('\n')
		case Left:
			fmt.Fprintf(out, "  %s left %s\n", e.Responder, e.Service)
		case Sent:
			fmt.Fprintf(out, "  %s of %d: sent %s of %s\n", e.Value, e.ID, e.Responder, e.Service)
		default:
			fmt.Fprintf(out, "  %s of %d: %s %s\n", e.Value, e.ID, e.Kind, e.Responder)
		}
	}
}
