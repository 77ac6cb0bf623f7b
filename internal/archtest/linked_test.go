package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// costly is what neither ipcctl nor ipc links, however indirectly: each package's initialisation is paid by every call of
// ipcctl in every shell script.
var costly = []string{
	"net/...", "os/exec", "os/user", "encoding/json", "log/...", "regexp/...", "text/template/...", "html/...", "flag",
	"crypto/...", "database/...", "testing/...",
	"github.com/coreos/go-systemd/...", "github.com/BurntSushi/toml/...", "github.com/fsnotify/fsnotify/...",
	"github.com/spf13/...",
}

func TestIpcctlLinksNothingCostly(t *testing.T) {
	const why = "ipcctl starts in a millisecond, and what it links is initialised at every start"
	for _, top := range []string{"cmd/ipcctl", "internal/cli", "ipc"} {
		report(t, checkLinked(load(t, "-deps", "./"+top), module+"/"+top, costly, why))
	}
}

// checkLinked returns, for each forbidden package in a dependency graph, the way by which it gets there. Ways through
// other people's packages (the standard library's too) are theirs: only what can be mended here is named, once.
func checkLinked(pkgs []pkg, top string, forbidden []string, why string) []string {
	imports := map[string][]string{}
	for _, p := range pkgs {
		imports[p.ImportPath] = p.Imports
	}
	if imports[top] == nil {
		return nil // not written yet
	}
	var problems []string
	cameFrom := map[string]string{top: ""}
	for queue := []string{top}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if matchesAny(forbidden, at) {
			way := []string{at}
			for from := cameFrom[at]; from != ""; from = cameFrom[from] {
				way = append(way, from)
			}
			slices.Reverse(way)
			problems = append(problems, fmt.Sprintf("%s must not link %s (%s): %s", top, at, strings.Join(way, " → "), why))
			continue
		}
		for _, next := range imports[at] {
			if _, seen := cameFrom[next]; !seen {
				cameFrom[next] = at
				queue = append(queue, next)
			}
		}
	}
	return problems
}

func TestCheckLinked(t *testing.T) {
	graph := []pkg{
		{ImportPath: "main", Imports: []string{"a", "b"}},
		{ImportPath: "a", Imports: []string{"fmt"}},
		{ImportPath: "b", Imports: []string{"a", "net/http"}},
		{ImportPath: "net/http", Imports: []string{"net"}},
		{ImportPath: "net"}, {ImportPath: "fmt"},
	}
	got := checkLinked(graph, "main", []string{"net/...", "regexp"}, "W")
	want := []string{"main must not link net/http (main → b → net/http): W"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := checkLinked(graph, "absent", []string{"net"}, "W"); got != nil {
		t.Errorf("a package that does not exist: %q", got)
	}
}
