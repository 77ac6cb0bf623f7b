package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A layer says what one package, and those below it in the tree, may import besides the standard library and itself.
type layer struct {
	path  string   // inside the module
	may   []string // packages of this module by their path in it, others by their full path
	never []string // of the standard library; "encoding/..." is encoding and all below
	why   string
}

const xsys = "golang.org/x/sys/unix"

// impure is what an engine never imports. io is looked at by use: see source_test.go.
var impure = []string{"net/...", "os/...", "log/...", "sync/...", "context", "encoding/...", "syscall", "unsafe", "math/rand/..."}

const whyPure = "an engine is pure (no I/O, lock, clock or randomness), so that tests, replays and the daemon run the same code"

var layers = []layer{
	{path: "cmd/ipcd", may: []string{"internal/daemon"},
		why: "a main is one call, so that test/script can run the same program inside a test"},
	{path: "cmd/ipcctl", may: []string{"internal/cli"},
		why: "a main is one call, so that test/script can run the same program inside a test"},

	{path: "internal/daemon", may: []string{"internal/server", "internal/config", "internal/locks", "internal/peer", "internal/record",
		"internal/state", "internal/version", "ipc", "systemd", "bus", "lockmgr", xsys},
		why: "the composition root wires the parts together and is itself used by cmd/ipcd alone"},
	{path: "internal/server", may: []string{"bus", "lockmgr", "internal/account", "internal/asking", "internal/conn", "internal/heap", "internal/journal", "internal/lockname", "internal/locks", "internal/loop",
		"internal/messages", "internal/peer", "internal/policy", "internal/printable", "internal/process", "internal/record", "internal/session", "internal/version", "internal/wills", "ipc/wire", xsys},
		why: "the loop joins commands and services, and carries out what follows; configuration and systemd are handed to it from above"},
	{path: "internal/locks", may: []string{"lockmgr", "internal/account", "internal/cgroup", "internal/conn", "internal/heap", "internal/journal", "internal/list", "internal/loop", "internal/peer", "internal/pieces",
		"internal/printable", "internal/process", "internal/record", "internal/session", "ipc/wire", xsys},
		why: "the service of locks knows its engine and what all services share, and no other service: where its events go it is given"},
	{path: "internal/messages", may: []string{"bus", "internal/account", "internal/conn", "internal/heap", "internal/journal", "internal/list", "internal/loop", "internal/openfile", "internal/peer",
		"internal/record", "internal/session", "internal/spare", "ipc/wire"},
		why: "the service of messages knows its engine and what all services share, and no other service"},
	{path: "internal/asking", may: []string{"bus", "internal/account", "internal/list", "internal/loop", "internal/session", "internal/spare", "ipc/wire"},
		why: "the service of requests knows its engine and what all services share, and no other service"},
	{path: "internal/wills", may: []string{"bus", "lockmgr", "internal/account", "internal/journal", "internal/loop", "internal/peer", "internal/process", "internal/record",
		"internal/session", "ipc/wire", xsys},
		why: "the service of wills knows whose end they wait for, and no other service: where they are published it is given"},
	{path: "internal/session", may: []string{"internal/account", "internal/conn", "internal/loop", "internal/peer", "internal/policy", "internal/spare", "ipc/wire", xsys},
		why: "what services share of those who ask knows no service and neither engine: each new one would need to be known here"},
	{path: "internal/process", may: []string{"lockmgr", "internal/cgroup", "internal/loop", "internal/peer", xsys},
		why: "which process has ended, and how, is known here, in the words of lockmgr; what ends with it is known to the services"},
	{path: "internal/journal", may: []string{"internal/loop", "internal/record"},
		why: "what is written down, and when, does not depend on what it means: that is known to the services"},
	{path: "internal/conn", may: []string{"internal/account", "internal/list", "internal/loop", "internal/peer", "internal/pieces", "ipc/wire", xsys},
		why: "a connection knows bytes: what a command means, and who gets which message, is known to its owner, so that this can be driven without either"},
	{path: "internal/loop", may: []string{xsys},
		why: "a loop waits for descriptors and times; what they mean is known to who handles them"},
	{path: "internal/config", may: []string{"ipc/wire", "bus", "internal/lockname", "internal/nearest", "internal/timespan", "github.com/BurntSushi/toml", "github.com/fsnotify/fsnotify"},
		why: "configuration is read and checked here, by the rules of bus and the wire for names and numbers, and applied by internal/daemon"},
	{path: "internal/openfile", may: []string{xsys},
		why: "what the kernel knows of an open file depends on nothing of ours"},
	{path: "internal/cgroup", may: []string{xsys},
		why: "a cgroup is a directory of the kernel's; who is in it is known above"},
	{path: "internal/peer", may: []string{"internal/cgroup", "systemd", xsys},
		why: "who a peer is comes from the kernel; what it may do is decided above"},
	{path: "internal/record", may: []string{"bus", "internal/lockname", "ipc/wire", "lockmgr"}, never: []string{"net/...", "os/...", "log/...", "sync/...", "syscall", "unsafe"},
		why: "what is written down is said in one place, of the engines' types and by the rules of bus and the wire for names; where it is written is decided below, and by whom above"},
	{path: "internal/state", may: []string{xsys},
		why: "what is kept is numbers and bytes here; what they mean is known above"},
	{path: "systemd", may: []string{xsys, "github.com/coreos/go-systemd/v22/..."},
		why: "a public package about systemd knows nothing of ipcd"},

	{path: "bus", may: []string{"internal/heap", "internal/list", "internal/pieces", "internal/spare"}, never: impure, why: whyPure},
	{path: "lockmgr", may: []string{"internal/list"}, never: impure, why: whyPure},

	{path: "internal/policy", may: []string{"ipc/wire"}, never: impure,
		why: "who may do what is decided by what is asked alone; the rights are those of the command table"},

	{path: "ipc/wire", may: []string{"internal/printable", "internal/nearest"}, never: impure,
		why: "the language of the wire is bytes and tables, for both of its ends; who sends them is known above"},
	{path: "ipc", may: []string{"internal/printable", xsys},
		why: "the client stands alone, with the wire below it: other programs import it"},
	{path: "internal/cli", may: []string{"ipc", "internal/printable", "internal/version", xsys},
		why: "ipcctl is a client like any other: what it needs is on the wire"},
	{path: "internal/cli/verb", may: []string{"internal/cli/term", "internal/cli/exit", "ipc", "internal/nearest", "internal/timespan", xsys},
		why: "what a verb is knows no verb, and neither processes nor locks"},
	{path: "internal/cli/term", may: []string{"internal/cli/exit", "ipc", "internal/printable", xsys},
		why: "what is written to knows not who writes"},
	{path: "internal/cli/process", may: []string{"internal/cli/exit", xsys},
		why: "what runs programs says nothing, and knows no daemon"},
	{path: "internal/cli/exit", may: []string{"ipc", "internal/printable", xsys},
		why: "everything in ipcctl may fail, so this imports none of it"},

	{path: "internal/gen", may: []string{"internal/cli", "ipc/wire"},
		why: "documents are made from the tables of ipc/wire and internal/cli, which know nothing of it"},

	{path: "internal/account", never: impure,
		why: "what users have and may have is kept by whoever does something for them, so it knows none of it, and no clock"},

	{path: "internal/heap", never: impure,
		why: "what is put in order is known to who has it, an engine or the loop"},

	{path: "internal/pieces", never: impure,
		why: "what is kept in pieces is known to who has it, an engine or the loop"},

	{path: "internal/list", never: impure,
		why: "what stands in a list is known to the engine that has it"},

	{path: "internal/spare", never: impure,
		why: "when nothing leads to an object any more is known to who gives it here, an engine or a service"},

	{path: "internal/lockname", may: []string{"bus", "ipc/wire"}, never: impure,
		why: "the rule for names of locks is made of that for topics, and of what the wire says of both"},
	{path: "internal/printable", why: "whoever shows text may import it, so it imports nobody"},
	{path: "internal/timespan", why: "whoever takes times from people may import it, so it imports nobody"},
	{path: "internal/nearest", why: "whoever takes words from people may import it, so it imports nobody"},
	{path: "internal/version", why: "everybody may import it, so it imports nobody"},
	{path: "internal/testenv", may: []string{xsys}, why: "every test may import it, so it imports nothing of ours"},
	{path: "internal/transcript", may: []string{xsys}, why: "it runs what documents show, whatever that is"},
	{path: "internal/archtest", why: "it looks at the code from outside"},
}

// unrestricted are the folders whose packages are no part of what is installed.
var unrestricted = []string{"test"}

func TestLayers(t *testing.T) {
	report(t, checkLayers(load(t, "./..."), layers))
}

// checkLayers returns one line for each import that no layer allows, and for each package that has no layer.
func checkLayers(pkgs []pkg, layers []layer) []string {
	var problems []string
	for _, p := range pkgs {
		if slices.ContainsFunc(unrestricted, func(dir string) bool { return within(p.local(), dir) }) {
			continue
		}
		l := layerOf(layers, p.local())
		if l == nil {
			problems = append(problems, fmt.Sprintf(
				"%s has no row in the table of internal/archtest/layers_test.go: add one that says what it may import, and why", p.local()))
			continue
		}
		for _, imp := range p.Imports {
			if !l.allows(imp) {
				problems = append(problems, fmt.Sprintf("%s must not import %s: %s", p.local(), imp, l.why))
			}
		}
	}
	return problems
}

func (l *layer) allows(imp string) bool {
	local, ours := strings.CutPrefix(imp, module+"/")
	switch {
	case ours:
		return within(local, l.path) || slices.ContainsFunc(l.may, func(m string) bool { return within(local, m) })
	case isStd(imp):
		return !matchesAny(l.never, imp)
	default:
		return matchesAny(l.may, imp)
	}
}

// layerOf finds the row with the longest path that contains the package.
func layerOf(layers []layer, local string) *layer {
	var best *layer
	for i := range layers {
		if l := &layers[i]; within(local, l.path) && (best == nil || len(l.path) > len(best.path)) {
			best = l
		}
	}
	return best
}

func within(local, dir string) bool {
	return local == dir || strings.HasPrefix(local, dir+"/")
}

// matchesAny reports whether a pattern names the import: "a/..." is a and all below, as in the go command.
func matchesAny(patterns []string, imp string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if dir, tree := strings.CutSuffix(p, "/..."); tree {
			return within(imp, dir)
		}
		return imp == p
	})
}

func TestCheckLayers(t *testing.T) {
	rows := []layer{
		{path: "top", may: []string{"engine", "example.com/dep/..."}, why: "T"},
		{path: "engine", never: impure, why: "E"},
		{path: "not/written/yet", why: "N"},
	}
	for _, c := range []struct {
		pkg, imports string
		want         string
	}{
		{"top", "net", ""},
		{"top", module + "/engine", ""},
		{"top", "example.com/dep", ""},
		{"top", "example.com/dep/sub", ""},
		{"top/sub", module + "/top", ""},
		{"top", "example.com/other", "top must not import example.com/other: T"},
		{"engine", "strings", ""},
		{"engine", module + "/top", "engine must not import " + module + "/top: E"},
		{"engine", "encoding/json", "engine must not import encoding/json: E"},
		{"engine", "sync", "engine must not import sync: E"},
		{"enginex", "fmt", "enginex has no row in the table"},
		{"test/anything", "net", ""},
	} {
		got := strings.Join(checkLayers([]pkg{{ImportPath: module + "/" + c.pkg, Imports: []string{c.imports}}}, rows), "\n")
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s imports %s: got %q, want %q", c.pkg, c.imports, got, c.want)
		}
	}
}
