package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

func TestEnginesArePure(t *testing.T) {
	checkSources(t, impureUse)
}

// engines are the folders whose code is looked at by use, where an import alone says too little.
var engines = []string{"bus/", "lockmgr/", "internal/policy/", "internal/account/"}

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
	allowed := []string{"internal/loop/", "internal/conn/", "internal/server/", "internal/session/", "internal/messages/", "internal/locks/", "internal/openfile/", "internal/peer/", "internal/state/slots.go", "systemd/", "ipc/",
		"internal/cli/process/inherit.go", "internal/cli/process/witness.go", "test/"}
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
	"internal/cli/format.go":      1, // the format that the user himself typed
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

// What a peer may do is asked in one file for each of the two questions: who compares users elsewhere decides it by himself.
func TestAccessIsAskedInOnePlace(t *testing.T) {
	checkSources(t, asksItself)
}

// usersCompared are the files that may, so often, as nobody is refused anything for it.
var usersCompared = map[string]int{
	"internal/locks/processes.go": 1, // whether to look for ancestors
}

// rooms are the folders of the server and its services.
var rooms = []string{"internal/server/", "internal/session/", "internal/messages/", "internal/locks/", "internal/journal/"}

func inRooms(path string) bool {
	return slices.ContainsFunc(rooms, func(room string) bool { return strings.HasPrefix(path, room) })
}

func asksItself(s source) (problems []string) {
	if s.file == nil || s.isTest() || !inRooms(s.path) || s.path == "internal/server/access.go" || s.path == "internal/session/access.go" {
		return nil
	}
	const why = "what a peer may do is asked in access.go of internal/server and internal/session, of internal/policy"
	s.selectors(func(imp, name string, n ast.Node) {
		if strings.HasSuffix(imp, "/internal/policy") && name != "Rules" {
			problems = append(problems, fmt.Sprintf("%s: policy.%s: %s", s.at(n), name, why))
		}
	})
	count := 0
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (isUser(n.X) || isUser(n.Y)) {
				if count++; count > usersCompared[s.path] {
					problems = append(problems, fmt.Sprintf("%s: users are compared: %s", s.at(n), why))
				}
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "permitted" && s.path != "internal/server/dispatch.go" {
				problems = append(problems, fmt.Sprintf("%s: permitted: %s, before a handler runs", s.at(n), why))
			}
		}
		return true
	})
	return problems
}

// isUser reports whether an expression is a uid, by what it is called.
func isUser(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return strings.EqualFold(e.Sel.Name, "uid")
	case *ast.Ident:
		return strings.EqualFold(e.Name, "uid")
	}
	return false
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
	for _, c := range []ruleCase{
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
		{"another user", "internal/server/a.go", `package server; func f(c *call) bool { return c.peer.UID != hold.UID }`, asksItself, 1},
		{"root", "internal/server/a.go", `package server; func f(uid uint32) bool { return 0 == uid }`, asksItself, 1},
		{"another number", "internal/server/a.go", `package server; func f(pid int) bool { return pid == 0 }`, asksItself, 0},
		{"policy in a handler", "internal/server/a.go", `package server; import "github.com/ipcd/ipcd/internal/policy"; var f = policy.Owns`, asksItself, 1},
		{"access in a handler", "internal/server/cmd_a.go", `package server; func f(c *call) { c.permitted(s) }`, asksItself, 1},
		{"another user, in a service", "internal/messages/a.go", `package messages; func f(c *session.Call) bool { return c.Session.Peer.UID != k.UID }`, asksItself, 1},
		{"policy in a session", "internal/session/a.go", `package session; import "github.com/ipcd/ipcd/internal/policy"; var f = policy.Owns`, asksItself, 1},
		{"access where a handler asks", "internal/session/access.go", `package session; func f(uid uint32) bool { return 0 == uid }`, asksItself, 0},
		{"access where it is asked", "internal/server/access.go", `package server; func f(uid uint32) bool { return 0 == uid }`, asksItself, 0},
		{"one more user than allowed", "internal/locks/processes.go", `package locks; var a, b = x.UID == 1, x.UID == 2`, asksItself, 1},
		{"500 lines", "x/a.go", "package x" + strings.Repeat("\n", 500), tooLong, 0},
		{"501 lines", "x/a.go", "package x" + strings.Repeat("\n", 501), tooLong, 1},
		{"501 generated", "x/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage x" + strings.Repeat("\n", 501), tooLong, 0},
	} {
		c.check(t)
	}
}

// A ruleCase is a file that breaks a rule so many times.
type ruleCase struct {
	name, path, text string
	rule             func(source) []string
	want             int
}

func (c *ruleCase) check(t *testing.T) {
	t.Helper()
	s, err := parse(c.path, []byte(c.text))
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	if got := c.rule(s); len(got) != c.want {
		t.Errorf("%s: %d problems %q, want %d", c.name, len(got), got, c.want)
	}
}
