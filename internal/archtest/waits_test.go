package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A test that lets time pass, or looks whether something happens within some time, is wrong on a busy machine and slow on any
// other. What a program can recognise of that is refused here: a sleep, a timer, a deadline, a poll, a loop until some time, and a
// sleep in a script or in a command that a test runs. To wait for an event no longer than patience is no such thing: when that is over, the test fails.
func TestTestsNeitherSleepNorSkip(t *testing.T) {
	checkSources(t, sleepsOrSkips)
	files, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	for path := range paced {
		if !slices.ContainsFunc(files, func(s source) bool { return s.path == path }) {
			t.Errorf("%s may let time pass, says the table, and does not exist", path)
		}
	}
}

const (
	whySleep = "wait for the event; a sleep is too short on a busy machine and too long on any other"
	whySkip  = "skip by way of internal/testenv, which checks the reason"
)

// paced are the tests that may let time pass all the same, so often, and why: what they find out does not depend on how long it takes.
var paced = map[string]struct {
	times int
	why   string
}{
	"internal/config/watch_test.go":    {2, "the time is synctest's"},
	"ipc/conn_test.go":                 {4, "that a deadline ends a call is what is tested, and nothing else could end it"},
	"ipc/daemon_test.go":               {1, "waits that are given up at any moment, before or after the grant"},
	"test/conformance/goredis_test.go": {1, "something is tried again until it succeeds"},
	"test/history/history_test.go":     {1, "those who were stopped may hold what the others wait for: they go on, some time"},
	"internal/server/share_test.go":    {2, "a command takes its time by turning: that it does is what is tested"},
	"internal/server/task_test.go":     {2, "a step of a task takes its time by turning, likewise"},
	"test/script/script_test.go":       {1, "a state of other processes, of which nothing tells, is looked at again until it is there"},
	"test/hostile/load_test.go":        {1, "a load lasts for some time, whatever comes of it"},
	"test/hostile/main_test.go":        {4, "a state of another process is looked at again until it is there; a bystander has his pace; and an attack ends when it gets no further"},
	"test/hostile/many_test.go":        {1, "a socket is filled: how much it takes is known by no event"},
}

// timers are the parts of package time that let time pass.
var timers = []string{"Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// sleepsOrSkips also looks at packages that only tests use.
func sleepsOrSkips(s source) (problems []string) {
	if strings.HasSuffix(s.path, ".txtar") {
		return scriptProblems(s)
	}
	switch {
	case !s.isTest() && !strings.HasPrefix(s.path, "test/testdaemon/"):
		return nil
	case strings.HasPrefix(s.path, "internal/testenv/"), strings.HasPrefix(s.path, "internal/archtest/"):
		return nil // the one is how to skip, and the other has examples of what it refuses
	}
	allowed := paced[s.path].times
	found := append(windows(s), commandSleeps(s)...)
	switch {
	case len(found) > allowed:
		problems = append(problems, found[allowed:]...)
	case len(found) < allowed:
		problems = append(problems, fmt.Sprintf("%s lets time pass %d times, and may %d times: lower that in the table", s.path, len(found), allowed))
	}
	return append(problems, skips(s)...)
}

// windows are the places where a test lets time pass, or looks for something within a time that is not its patience.
func windows(s source) (found []string) {
	at := map[ast.Node]string{}
	imports := map[ast.Node]string{}
	s.selectors(func(imp, name string, n ast.Node) { imports[n] = imp + "." + name })
	ast.Inspect(s.file, func(n ast.Node) bool {
		if loop, ok := n.(*ast.ForStmt); ok && lasts(loop, imports) {
			at[loop] = "a loop until a time"
		}
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		last := call.Args[len(call.Args)-1]
		switch name := imports[call.Fun]; {
		case name == "context.WithTimeout", name == "context.WithTimeoutCause":
			if !patient(call.Args[1]) {
				at[call] = name
			}
		case name == "golang.org/x/sys/unix.Poll":
			if !patient(last) && !atOnceOrNever(last) {
				at[call] = name
			}
		case strings.HasPrefix(name, "time.") && slices.Contains(timers, name[len("time."):]):
			if name == "time.Sleep" || !patient(call.Args[0]) {
				at[call] = name
			}
		case name == "":
			if isDeadline(call, imports) {
				at[call] = "a deadline"
			}
		}
		return true
	})
	for n, what := range at {
		found = append(found, fmt.Sprintf("%s: %s: %s", s.at(n), what, whySleep))
	}
	slices.Sort(found)
	return found
}

// patient reports whether a length of time is a test's patience, or made of it.
func patient(d ast.Expr) (is bool) {
	ast.Inspect(d, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && strings.HasPrefix(id.Name, "patience") {
			is = true
		}
		return true
	})
	return is
}

// lasts reports whether a loop goes on until some time that is not its patience.
func lasts(loop *ast.ForStmt, imports map[ast.Node]string) (does bool) {
	if loop.Cond == nil || patient(loop.Cond) {
		return false
	}
	if begin, ok := loop.Init.(*ast.AssignStmt); ok && slices.ContainsFunc(begin.Rhs, patient) {
		return false
	}
	ast.Inspect(loop.Cond, func(n ast.Node) bool {
		if name := imports[n]; name == "time.Now" || name == "time.Since" || name == "time.Until" {
			does = true
		}
		return true
	})
	return does
}

// atOnceOrNever reports whether a time-out of poll does not let time pass, or has no end: 0, -1, or what is not written there.
func atOnceOrNever(timeout ast.Expr) bool {
	lit, ok := timeout.(*ast.BasicLit)
	return !ok || lit.Value == "0"
}

// isDeadline reports whether a call is f(time.Now().Add(d)) where d is not patience: something has to happen until then, or must not.
func isDeadline(call *ast.CallExpr, imports map[ast.Node]string) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"SetDeadline", "SetReadDeadline", "SetWriteDeadline", "Wait", "set"}, f.Sel.Name) {
		return false
	}
	add, ok := call.Args[0].(*ast.CallExpr)
	if !ok || len(add.Args) != 1 || patient(add.Args[0]) {
		return false
	}
	sum, ok := add.Fun.(*ast.SelectorExpr)
	if !ok || sum.Sel.Name != "Add" {
		return false
	}
	now, ok := sum.X.(*ast.CallExpr)
	return ok && imports[now.Fun] == "time.Now"
}

// leastJob is how many seconds a sleep in a script or a command has at least: then nobody waits for it, as tests lose patience
// before. It is a job that something else ends.
const leastJob = 30

var commandSleep = regexp.MustCompile(`\bsleep\s+["']?([^\s;&|)"']+)`)

func isJob(seconds string) bool {
	n, err := strconv.ParseFloat(seconds, 64)
	return err == nil && n >= leastJob
}

// commandSleeps are the sleeps in what a test has a shell run, and those that it runs itself: "sleep", "5".
func commandSleeps(s source) (found []string) {
	words := func(n ast.Node, text string) {
		for _, m := range commandSleep.FindAllStringSubmatch(text, -1) {
			if _, err := strconv.ParseFloat(m[1], 64); err == nil && !isJob(m[1]) {
				found = append(found, fmt.Sprintf("%s: %s: %s", s.at(n), m[0], whySleep))
			}
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			for i := range len(n.Args) - 1 {
				if text(n.Args[i]) == "sleep" {
					words(n, "sleep "+text(n.Args[i+1]))
				}
			}
		case *ast.BasicLit:
			words(n, text(n))
		}
		return true
	})
	return found
}

// text is what a literal string says, else "".
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(lit.Value) // it has been parsed
	return s
}

// scriptSkip finds the skip command in a line of a test script, also behind its conditions.
var scriptSkip = regexp.MustCompile(`^\s*(\[[^]]*\]\s*)*skip(\s|$)`)

// scriptProblems are the skips of a script, and its sleeps, also in the shell commands of its files.
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
		for _, found := range commandSleep.FindAllStringSubmatch(line, -1) {
			if !isJob(found[1]) {
				problems = append(problems, fmt.Sprintf("%s:%d: %s: %s", s.path, i+1, found[0], whySleep))
			}
		}
	}
	return problems
}

func skips(s source) (problems []string) {
	s.selectors(func(imp, name string, n ast.Node) {
		if imp == "testing" && name == "Short" {
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

func TestRulesForWaits(t *testing.T) {
	const (
		pacedFile = "test/history/history_test.go"
		head      = `package x; import ("time"; "context"; "golang.org/x/sys/unix"); func f() { `
	)
	for _, c := range []ruleCase{
		{"a sleep", "x/a_test.go", head + `time.Sleep(1) }`, sleepsOrSkips, 1},
		{"a renamed sleep", "x/a_test.go", `package x; import c "time"; func f() { c.Sleep(1) }`, sleepsOrSkips, 1},
		{"a sleep outside tests", "x/a.go", head + `time.Sleep(1) }`, sleepsOrSkips, 0},
		{"a sleep in what tests use", "test/testdaemon/a.go", head + `time.Sleep(1) }`, sleepsOrSkips, 1},
		{"a timer", "x/a_test.go", head + `<-time.NewTimer(1).C }`, sleepsOrSkips, 1},
		{"nothing within a time", "x/a_test.go", head + `<-time.After(50 * time.Millisecond) }`, sleepsOrSkips, 1},
		{"patience", "x/a_test.go", head + `<-time.After(patience) }`, sleepsOrSkips, 0},
		{"more patience", "x/a_test.go", head + `<-time.After(2 * patience) }`, sleepsOrSkips, 0},
		{"to sleep for patience", "x/a_test.go", head + `time.Sleep(patience) }`, sleepsOrSkips, 1},
		{"a pace", pacedFile, head + `time.Tick(1) }`, sleepsOrSkips, 0},
		{"another pace", pacedFile, head + `time.Tick(1); time.Tick(1) }`, sleepsOrSkips, 1},
		{"a pace that is no more", pacedFile, head + `}`, sleepsOrSkips, 1},
		{"a context with a window", "x/a_test.go", head + `context.WithTimeout(c, time.Second) }`, sleepsOrSkips, 1},
		{"a context with patience", "x/a_test.go", head + `context.WithTimeout(c, patience) }`, sleepsOrSkips, 0},
		{"a deadline", "x/a_test.go", head + `c.SetReadDeadline(time.Now().Add(time.Second)) }`, sleepsOrSkips, 1},
		{"a patient deadline", "x/a_test.go", head + `c.SetReadDeadline(time.Now().Add(patience)) }`, sleepsOrSkips, 0},
		{"no deadline", "x/a_test.go", head + `c.SetDeadline(time.Time{}) }`, sleepsOrSkips, 0},
		{"a loop", "x/a_test.go", head + `for end := time.Now().Add(9); time.Now().Before(end); { } }`, sleepsOrSkips, 1},
		{"a patient loop", "x/a_test.go", head + `for end := time.Now().Add(patience); time.Now().Before(end); { } }`, sleepsOrSkips, 0},
		{"a poll", "x/a_test.go", head + `unix.Poll(fds, 100) }`, sleepsOrSkips, 1},
		{"a poll for ever", "x/a_test.go", head + `unix.Poll(fds, -1) }`, sleepsOrSkips, 0},
		{"a look", "x/a_test.go", head + `unix.Poll(fds, 0) }`, sleepsOrSkips, 0},
		{"a command's sleep", "x/a_test.go", head + `run("sh", "-c", "true; sleep 0.1") }`, sleepsOrSkips, 1},
		{"a command that sleeps", "x/a_test.go", head + `run("sleep", "1") }`, sleepsOrSkips, 1},
		{"a command's job", "x/a_test.go", head + `run("sleep", "1000"); run("sleep", "infinity") }`, sleepsOrSkips, 0},
		{"words about sleep", "x/a_test.go", head + `t.Error("those who sleep must wake") }`, sleepsOrSkips, 0},
		{"a script's sleep", "test/script/a.txtar", "exec sleep 0.1\n-- f --\nsleep 1; true\n", sleepsOrSkips, 2},
		{"a script's job", "test/script/a.txtar", "exec sleep 1000 &job&\nkill job\n", sleepsOrSkips, 0},
		{"a skip", "x/a_test.go", `package x; func f(t T) { t.Skip("x") }`, sleepsOrSkips, 1},
		{"testing.Short", "x/a_test.go", `package x; import "testing"; var s = testing.Short()`, sleepsOrSkips, 1},
		{"another Skip", "x/a_test.go", `package x; func f(d D) { d.Skip() }`, sleepsOrSkips, 0},
		{"testenv's own", "internal/testenv/a_test.go", `package x; func f(t T) { t.Skip("x") }`, sleepsOrSkips, 0},
		{"a script's skip", "test/script/a.txtar", "[!exec:zsh] skip 'no zsh'\nexec true\n", sleepsOrSkips, 1},
		{"a file in a script", "test/script/a.txtar", "exec true\n-- skip --\nskip\n", sleepsOrSkips, 0},
	} {
		c.check(t)
	}
}
