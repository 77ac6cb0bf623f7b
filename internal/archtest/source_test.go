package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestTestsNeitherSleepNorSkip(t *testing.T) {
	checkSources(t, sleepsOrSkips)
}

const (
	whySleep = "wait for the event; a sleep is too short on a busy machine and too long on any other"
	whySkip  = "skip by way of internal/testenv, which checks the reason"
)

// scriptSkip finds the skip command in a line of a test script, also behind its conditions, and scriptSleep a sleep anywhere, in
// the shell commands of its files, too.
var (
	scriptSkip  = regexp.MustCompile(`^\s*(\[[^]]*\]\s*)*skip(\s|$)`)
	scriptSleep = regexp.MustCompile(`\bsleep\s+["']?([^\s;&|)"']+)`)
)

// leastJob is how many seconds a script's sleep has at least: then nobody waits for it, as scripts lose patience before. It is a
// job that something else ends.
const leastJob = 30

func scriptProblems(s source) (problems []string) {
	inFiles := false // the script is over
	for i, line := range strings.Split(string(s.text), "\n") {
		inFiles = inFiles || strings.HasPrefix(line, "-- ")
		if !inFiles && scriptSkip.MatchString(line) {
			problems = append(problems, fmt.Sprintf("%s:%d: skip: %s", s.path, i+1, whySkip))
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, found := range scriptSleep.FindAllStringSubmatch(line, -1) {
			if n, err := strconv.ParseFloat(found[1], 64); err != nil || n < leastJob {
				problems = append(problems, fmt.Sprintf("%s:%d: %s: %s", s.path, i+1, found[0], whySleep))
			}
		}
	}
	return problems
}

// waits are the parts of package time that let time pass. To wait for an event no longer than patience is no such use: when that is
// over, the test fails.
var waits = []string{"Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// paced are the tests that may use them all the same, so often, as what they find out does not depend on how long it takes.
var paced = map[string]int{
	"internal/config/watch_test.go":    2, // the time is synctest's
	"test/conformance/goredis_test.go": 1, // something is tried again until it succeeds
	"test/history/history_test.go":     1, // those who were stopped may hold what the others wait for: they go on, some time
	"test/hostile/main_test.go":        3, // a state of another process is looked at again until it is there; and a bystander has his pace
}

func sleepsOrSkips(s source) (problems []string) {
	if strings.HasSuffix(s.path, ".txtar") {
		return scriptProblems(s)
	}
	if !s.isTest() || strings.HasPrefix(s.path, "internal/testenv/") {
		return nil
	}
	patient := map[ast.Node]bool{}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 {
			limit, ok := call.Args[0].(*ast.Ident)
			patient[call.Fun] = ok && strings.HasPrefix(limit.Name, "patience")
		}
		return true
	})
	count := 0
	s.selectors(func(imp, name string, n ast.Node) {
		switch {
		case imp == "time" && slices.Contains(waits, name) && (name == "Sleep" || !patient[n]):
			if count++; count > paced[s.path] {
				problems = append(problems, fmt.Sprintf("%s: time.%s: %s", s.at(n), name, whySleep))
			}
		case imp == "testing" && name == "Short":
			problems = append(problems, fmt.Sprintf("%s: testing.Short: %s", s.at(n), whySkip))
		}
	})
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name) {
			problems = append(problems, fmt.Sprintf("%s: %s.%s: %s", s.at(n), x.Name, sel.Sel.Name, whySkip))
		}
		return true
	})
	return problems
}

func TestEnginesArePure(t *testing.T) {
	checkSources(t, impureUse)
}

// engines are the folders whose code is looked at by use, where an import alone says too little.
var engines = []string{"bus/", "lockmgr/", "internal/policy/"}

// clocks are the parts of package time that read or set a clock: an engine is told the time.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// dumping is what an engine may use of package io, to print its state.
var dumping = []string{"Writer", "StringWriter", "WriteString"}

func impureUse(s source) (problems []string) {
	if s.file == nil || s.isTest() || !slices.ContainsFunc(engines, func(e string) bool { return strings.HasPrefix(s.path, e) }) {
		return nil
	}
	s.selectors(func(imp, name string, n ast.Node) {
		switch {
		case imp == "time" && slices.Contains(clocks, name):
			problems = append(problems, fmt.Sprintf("%s: time.%s: an engine has no clock, its caller passes now", s.at(n), name))
		case imp == "io" && !slices.Contains(dumping, name):
			problems = append(problems, fmt.Sprintf("%s: io.%s: an engine does no I/O, it may only dump itself to an io.Writer", s.at(n), name))
		}
	})
	ast.Inspect(s.file, func(n ast.Node) bool {
		if _, ok := n.(*ast.GoStmt); ok {
			problems = append(problems, fmt.Sprintf("%s: go: an engine has no goroutine, one call is one step", s.at(n)))
		}
		return true
	})
	return problems
}

// Unsafe code and raw system calls stay where the kernel's interface needs them, or mapped memory is written in one step.
func TestUnsafeIsConfined(t *testing.T) {
	allowed := []string{"internal/loop/", "internal/server/", "internal/peer/", "internal/state/slots.go", "systemd/", "ipc/", "test/"}
	checkSources(t, func(s source) []string {
		if s.file == nil || slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(s.path, a) }) {
			return nil
		}
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"unsafe"` {
				return []string{s.at(spec) + ": unsafe: only where a system call has no wrapper"}
			}
		}
		return nil
	})
}

// What ipcctl prints goes through its output, whose text takes literals: constants of ours. What is converted to one is
// written as it is, so each place that does it is named here, with the reason.
func TestIpcctlShowsOnlyLiterals(t *testing.T) {
	checkSources(t, shownRaw)
}

var literals = map[string]int{
	"internal/cli/term/output.go": 2, // what was escaped, and data for what is no terminal
	"internal/cli/term/json.go":   1, // JSON is escaped
	"internal/cli/message.go":     1, // the format that the user himself typed
	"internal/cli/completion.go":  1, // a script of ours
}

func shownRaw(s source) (problems []string) {
	const cli = "internal/cli/"
	if s.file == nil || s.isTest() || !strings.HasPrefix(s.path, cli) {
		return nil
	}
	n := 0
	ast.Inspect(s.file, func(node ast.Node) bool {
		if call, ok := node.(*ast.CallExpr); ok {
			if isLiteral(call.Fun) && !isConstant(call.Args) {
				if n++; n > literals[s.path] {
					problems = append(problems, fmt.Sprintf("%s: Literal: text that others may have chosen is shown by Clean, which escapes it", s.at(node)))
				}
			}
		}
		return true
	})
	s.selectors(func(imp, name string, node ast.Node) {
		printed := imp == "os" && (name == "Stdout" || name == "Stderr") || imp == "fmt" && strings.HasPrefix(name, "Print")
		if printed && s.path != cli+"term/output.go" && s.path != cli+"process/exec.go" { // the latter hands them to CMD
			problems = append(problems, fmt.Sprintf("%s: %s.%s: what is shown goes through output", s.at(node), imp, name))
		}
	})
	return problems
}

// isLiteral reports whether a conversion is to the type of what is written as it is: Literal in package term, else term.Literal.
func isLiteral(to ast.Expr) bool {
	switch to := to.(type) {
	case *ast.Ident:
		return to.Name == "Literal"
	case *ast.SelectorExpr:
		return to.Sel.Name == "Literal"
	}
	return false
}

// isConstant reports whether a conversion is of a literal.
func isConstant(args []ast.Expr) bool {
	if len(args) != 1 {
		return false
	}
	_, ok := args[0].(*ast.BasicLit)
	return ok
}

const maxLines = 500

func TestFilesHoldOneIdea(t *testing.T) {
	checkSources(t, tooLong)
}

func tooLong(s source) []string {
	if s.file == nil || s.isTest() || ast.IsGenerated(s.file) {
		return nil
	}
	if n := bytes.Count(s.text, []byte("\n")); n > maxLines {
		return []string{fmt.Sprintf("%s has %d lines, over %d: which second idea could have a file of its own?", s.path, n, maxLines)}
	}
	return nil
}

func TestSourceRules(t *testing.T) {
	for _, c := range []struct {
		name, path, text string
		rule             func(source) []string
		want             int
	}{
		{"a sleep", "x/a_test.go", `package x; import "time"; func f() { time.Sleep(1) }`, sleepsOrSkips, 1},
		{"a renamed sleep", "x/a_test.go", `package x; import c "time"; func f() { c.Sleep(1) }`, sleepsOrSkips, 1},
		{"a sleep outside tests", "x/a.go", `package x; import "time"; func f() { time.Sleep(1) }`, sleepsOrSkips, 0},
		{"a timer", "x/a_test.go", `package x; import "time"; func f() { <-time.NewTimer(1).C }`, sleepsOrSkips, 1},
		{"nothing within a time", "x/a_test.go", `package x; import "time"; func f() { <-time.After(50 * time.Millisecond) }`, sleepsOrSkips, 1},
		{"patience", "x/a_test.go", `package x; import "time"; func f() { <-time.After(patience) }`, sleepsOrSkips, 0},
		{"to sleep for patience", "x/a_test.go", `package x; import "time"; func f() { time.Sleep(patience) }`, sleepsOrSkips, 1},
		{"a pace", "test/history/history_test.go", `package x; import "time"; func f() { time.Tick(1) }`, sleepsOrSkips, 0},
		{"another pace", "test/history/history_test.go", `package x; import "time"; func f() { time.Tick(1); time.Tick(1) }`, sleepsOrSkips, 1},
		{"a script's sleep", "test/script/a.txtar", "exec sleep 0.1\n-- f --\nsleep 1; true\n", sleepsOrSkips, 2},
		{"a script's job", "test/script/a.txtar", "exec sleep 1000 &job&\nkill job\n", sleepsOrSkips, 0},
		{"a skip", "x/a_test.go", `package x; func f(t T) { t.Skip("x") }`, sleepsOrSkips, 1},
		{"testing.Short", "x/a_test.go", `package x; import "testing"; var s = testing.Short()`, sleepsOrSkips, 1},
		{"another Skip", "x/a_test.go", `package x; func f(d D) { d.Skip() }`, sleepsOrSkips, 0},
		{"testenv's own", "internal/testenv/a_test.go", `package x; func f(t T) { t.Skip("x") }`, sleepsOrSkips, 0},
		{"a script's skip", "test/script/a.txtar", "[!exec:zsh] skip 'no zsh'\nexec true\n", sleepsOrSkips, 1},
		{"a file in a script", "test/script/a.txtar", "exec true\n-- skip --\nskip\n", sleepsOrSkips, 0},
		{"a clock", "bus/a.go", `package bus; import "time"; var t = time.Now()`, impureUse, 1},
		{"a duration", "bus/a.go", `package bus; import "time"; var t time.Duration`, impureUse, 0},
		{"a reader", "lockmgr/a.go", `package lockmgr; import "io"; var r io.Reader`, impureUse, 1},
		{"a dump", "lockmgr/a.go", `package lockmgr; import "io"; var w io.Writer`, impureUse, 0},
		{"a goroutine", "lockmgr/a.go", `package lockmgr; func f() { go f() }`, impureUse, 1},
		{"a goroutine elsewhere", "ipc/a.go", `package ipc; func f() { go f() }`, impureUse, 0},
		{"a constant", "internal/cli/a.go", `package cli; func f(o *term.Output) { o.Text(term.Literal("a")) }`, shownRaw, 0},
		{"what others chose", "internal/cli/a.go", `package cli; func f(o *term.Output, s string) { o.Text(term.Literal(s)) }`, shownRaw, 1},
		{"what others chose, in package term", "internal/cli/term/a.go", `package term; func f(o *Output, s string) { o.Text(Literal(s)) }`, shownRaw, 1},
		{"one more than allowed", "internal/cli/term/json.go", `package term; var a, b = Literal(s), Literal(s)`, shownRaw, 1},
		{"standard error", "internal/cli/a.go", `package cli; import "os"; var w = os.Stderr`, shownRaw, 1},
		{"500 lines", "x/a.go", "package x" + strings.Repeat("\n", 500), tooLong, 0},
		{"501 lines", "x/a.go", "package x" + strings.Repeat("\n", 501), tooLong, 1},
		{"501 generated", "x/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage x" + strings.Repeat("\n", 501), tooLong, 0},
	} {
		s, err := parse(c.path, []byte(c.text))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := c.rule(s); len(got) != c.want {
			t.Errorf("%s: %d problems %q, want %d", c.name, len(got), got, c.want)
		}
	}
}
