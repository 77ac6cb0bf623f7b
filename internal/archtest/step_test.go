package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"testing"
)

// What changes the locks is recorded before it is told (internal/locks/step.go). So in the service the engine is only looked at, but
// for the functions that are given to a step.
func TestLocksAreChangedInSteps(t *testing.T) {
	checkSources(t, unsteppedUse)
}

// lookers are the methods of the lock engine that change nothing that is recorded. One that is not here is taken to do so.
var lookers = []string{
	"Abandoned", "Ahead", "All", "Check", "Claim", "Claims", "Deadline", "Dump", "Hold", "Holders", "Limit", "Look", "Names", "Pending", "SetLimits",
	"Snapshot", "Tokens", "Unreaped", "View",
}

// takers are those by which a step learns what it has done.
var takers = []string{"Effects", "Known"}

// steps are the functions that make a step of a function that they are given: see changeAt.
var steps = []string{"step", "stepFor", "changeHold"}

func unsteppedUse(s source) (problems []string) {
	if s.file == nil || s.isTest() || path.Dir(s.path) != "internal/locks" {
		return nil
	}
	var stack []ast.Node
	ast.Inspect(s.file, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		engine, ok := n.(*ast.SelectorExpr)
		if !ok || engine.Sel.Name != "locks" || !isService(engine.X) {
			return true
		}
		method, ok := stack[len(stack)-2].(*ast.SelectorExpr)
		switch {
		case !ok && !isAssigned(stack[len(stack)-2], engine):
			problems = append(problems, fmt.Sprintf("%s: the lock engine goes by another name: what is done to it could not be seen", s.at(n)))
		case !ok, slices.Contains(lookers, method.Sel.Name):
		case slices.Contains(takers, method.Sel.Name) && s.path == "internal/locks/step.go":
		case !isStep(stack[:len(stack)-2], method):
			problems = append(problems, fmt.Sprintf("%s: %s is called outside of a step: what it changes would be told before it is recorded", s.at(n), method.Sel.Name))
		}
		return true
	})
	return problems
}

func isService(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name == "s"
	case *ast.SelectorExpr: // of what has it
		return x.Sel.Name == "locks" || x.Sel.Name == "service"
	}
	return false
}

func isAssigned(parent ast.Node, x ast.Expr) bool {
	set, ok := parent.(*ast.AssignStmt)
	return ok && slices.Contains(set.Lhs, x)
}

// isStep reports whether the use of a method, below these nodes, is in a function that is given to a step, or is that function.
func isStep(stack []ast.Node, use ast.Expr) bool {
	for i, n := range slices.Backward(stack) {
		literal, ok := n.(*ast.FuncLit)
		if ok {
			return i > 0 && isGiven(stack[i-1], literal)
		}
	}
	return isGiven(stack[len(stack)-1], use)
}

// isGiven reports whether a node gives a function to a step.
func isGiven(n ast.Node, f ast.Expr) bool {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains(steps, sel.Sel.Name) && len(call.Args) > changeAt(sel.Sel.Name) && call.Args[changeAt(sel.Sel.Name)] == f
}

// changeAt is which argument of a function of steps changes the engine.
func changeAt(name string) int {
	return map[string]int{"step": 0, "stepFor": 1, "changeHold": 2}[name]
}

func TestUnsteppedUseIsFound(t *testing.T) {
	for body, want := range map[string]int{
		`s.step(func(now lockmgr.Time) { s.locks.Cancel(now, id) })`:                                  0,
		`s.step(func(now lockmgr.Time) { for range all { if !s.locks.Cancel(now, id) { return } } })`: 0,
		`s.step(s.locks.Expire)`: 0,
		`s.changeHold(c, &hold, func(now lockmgr.Time) { _ = s.locks.Leave(now, name, t, p) })`: 0,
		`for h := range s.locks.Holders(name) { use(h) }`:                                       0,
		`s.locks, err = restore()`:                                                  0,
		`s.locks.Cancel(now, id)`:                                                   1,
		`s.locks.ANewMethod()`:                                                      1,
		`r.locks.locks.Expire(now)`:                                                 1,
		`effects := s.locks.Effects()`:                                              1,
		`s.stepFor(nil, change, func() { s.locks.Cancel(now, id) })`:                1,
		`s.change(d, func(error) { s.locks.Expire(now) })`:                          1,
		`s.step(later(func() { s.locks.Expire(now) }))`:                             1,
		`s.step(func(now lockmgr.Time) { s.Post(func() { s.locks.Expire(now) }) })`: 1,
		`m := s.locks`:    1,
		`expire(s.locks)`: 1,
		`u.locks++`:       0,
	} {
		src, err := parse("internal/locks/x.go", []byte("package locks\nfunc f() {\n"+body+"\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := unsteppedUse(src); len(got) != want {
			t.Errorf("%s: %d problems %q, want %d", body, len(got), got, want)
		}
	}
}
