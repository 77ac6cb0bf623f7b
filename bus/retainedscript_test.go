package bus

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestRetainedScripts runs testdata/retained/*.txt, as TestScripts does its own. The commands, where a TOPIC, VALUE or FILTER that is not
// a plain word is quoted as in Go, and a NAME is what a look is called:
//
//	set TOPIC VALUE   Set
//	get TOPIC         Get
//	delete TOPIC      Delete
//	find FILTER       Lookup, to its end
//	look NAME FILTER  Lookup
//	all NAME          All
//	next NAME         Next, for as long as there is no value
//
// The state is all topics with their values, in the order of the tree.
func TestRetainedScripts(t *testing.T) {
	runScripts(t, "testdata/retained/*.txt", func() world { return &retainedWorld{looks: map[string]*Lookup[string]{}} })
}

type retainedWorld struct {
	Retained[string]
	looks map[string]*Lookup[string]
}

func (r *retainedWorld) check() error { return r.Check() }

func (r *retainedWorld) Dump(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%d values\n", r.Len())
	r.dump(&out, &r.root, "")
	_, err := io.WriteString(w, out.String())
	return err
}

func (r *retainedWorld) dump(out *strings.Builder, l *leaf[string], below string) {
	for child := l.first; child != nil; child = child.after {
		if child.has {
			fmt.Fprintf(out, "%q: %s\n", below+child.level, child.value)
		}
		r.dump(out, child, below+child.level+"/")
	}
}

func (r *retainedWorld) run(t *testing.T, line string, out *strings.Builder) {
	words := splitWords(t, line)
	name, args := words[0], words[1:]
	told := func(v string, ok bool) {
		if !ok {
			v = "none"
		}
		fmt.Fprintf(out, "%s: %s\n", name, v)
	}
	switch name {
	case "set":
		if err := CheckTopic(args[0]); err != nil {
			fmt.Fprintf(out, "set: %v\n", err)
			return
		}
		if before, had := r.Set(args[0], args[1]); had {
			fmt.Fprintf(out, "set: instead of %s\n", before)
		}
	case "get":
		told(r.Get(args[0]))
	case "delete":
		told(r.Delete(args[0]))
	case "find":
		fmt.Fprintf(out, "find: %s\n", strings.Join(found(r.Lookup(args[0])), " "))
	case "look":
		r.looks[args[0]] = r.Lookup(args[1])
	case "all":
		r.looks[args[0]] = r.All()
	case "next":
		for {
			v, ok, more := r.looks[args[0]].Next()
			if ok || !more {
				told(v, ok)
				return
			}
		}
	default:
		t.Fatalf("no command %q", name)
	}
}
