package lockmgr_test

// The scripts in testdata are the rules by example. Blank lines part a script into blocks: commands, a line "----", and
// what comes of them. Lines that begin with # are for the reader. The commands, one on a line:
//
//	start LAST MARK                 a new Manager; each script starts with one from 0 to 1000
//	restart                         what a daemon does after a crash: the Manager is made again from a snapshot
//	limits [NAME=N...]              the limits that are set
//	at DURATION                     it is so long after boot from now on; at first 0s
//	real MICROSECONDS               it is that long after 1970 from now on; at first 0, so that tokens count from 1
//	acquire NAME [OPTION...]        of these options:
//	    and=NAME                        together with this one, once for each
//	    by=PID[/START][:LABEL]          the owner; 1 unless said
//	    conn=N                          the connection; the PID unless said
//	    shared, units=N                 instead of alone
//	    limit=N                         how many units the lock has
//	    try, wait=DURATION              instead of waiting for ever
//	    for[=lease|nobody]              bound to the process alone, to its lease alone, or to nobody
//	    lease=DURATION                  it ends after that
//	    untold                          the next holder is to be told, too
//	    join=TOKEN                      one more owner of that hold
//	    with=NAME:TOKEN                 a token that is shown, once for each
//	    under=PID[/START]               a process that the owner descends from, once for each
//	    uid=N, unit=UNIT, why=TEXT      to be shown
//	release NAME TOKEN              or "by=…" for the token
//	leave NAME TOKEN PID[/START]
//	give-back NAME TOKEN
//	told NAME TOKEN
//	break NAME [TOKEN]              by process 99
//	downgrade NAME TOKEN
//	renew NAME TOKEN DURATION
//	cancel ID
//	cancel-conn CONN [most=N]       N claims at most, and tells if there are more; without it all
//	end-conn CONN HOW [STATUS] [most=N]     HOW is unknown, released, exited, killed, disconnected or unreaped
//	end-process PID[/START] HOW [STATUS] [most=N]
//	learn PID[/START] HOW [STATUS] [most=N]     tells also of which processes it is known now, or does not matter any more
//	expire [most=N]                 tells the next deadline too
//	reserve MARK
//
// What comes of them is, after "> ", each effect, refusal or answer in its order, then the state after the last command
// as Dump has it. After each command Check must find nothing, and a Manager that is made from a snapshot of before and
// the effects of the command must be in the same state.
//
// "go test ./lockmgr -rewrite" writes what does come into the scripts, for git diff to show.

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipcd/ipcd/lockmgr"
)

var rewrite = flag.Bool("rewrite", false, "write what comes of the scripts in testdata into them")

func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scripts: ", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("the script says (-), and what comes is (+):\n%s", diff)
			}
		})
	}
}

// runScript gives the script with what came of its commands.
func runScript(t *testing.T, script string) string {
	s := &runner{t: t, m: lockmgr.New(0, 1000)}
	var blocks []string
	for block := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		input, _, found := strings.Cut(block+"\n", "----\n")
		if !found {
			blocks = append(blocks, block)
			continue
		}
		for line := range strings.Lines(input) {
			if !strings.HasPrefix(line, "#") {
				s.run(strings.TrimSpace(line))
			}
		}
		if err := s.m.Dump(&s.out); err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, input+"----\n"+strings.TrimSuffix(s.out.String(), "\n"))
		s.out.Reset()
	}
	return strings.Join(blocks, "\n\n") + "\n"
}

type runner struct {
	t   *testing.T
	m   *lockmgr.Manager
	now lockmgr.Time
	out bytes.Buffer
}

func (s *runner) run(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	args := strings.Fields(rest)
	before := s.m.Snapshot()
	most, more := lockmgr.All, false
	if n := len(args) - 1; n >= 0 && strings.HasPrefix(args[n], "most=") {
		most = s.number(strings.TrimPrefix(args[n], "most="))
		args = args[:n]
	}
	switch verb {
	case "start":
		s.m = lockmgr.New(s.token(args[0]), s.token(args[1]))
	case "restart":
		last, mark := s.m.Tokens()
		s.m = lockmgr.Restore(s.m.Snapshot(), last, mark)
	case "limits":
		limits := map[string]int{}
		for _, arg := range args {
			name, limit, _ := strings.Cut(arg, "=")
			limits[name] = s.number(limit)
		}
		s.m.SetLimits(limits)
	case "at":
		s.now.Boot = s.duration(args[0])
	case "real":
		s.now.Real = int64(s.number(args[0]))
	case "acquire":
		_, err := s.m.Acquire(s.now, s.request(args))
		s.refusal(err)
	case "release":
		s.refusal(s.release(args[0], args[1]))
	case "leave":
		s.refusal(s.m.Leave(s.now, args[0], s.token(args[1]), s.owner(args[2]).Process))
	case "give-back":
		s.refusal(s.m.GiveBack(s.now, args[0], s.token(args[1])))
	case "told":
		s.refusal(s.m.Told(args[0], s.token(args[1])))
	case "break":
		s.refusal(s.m.Break(s.now, args[0], s.token(append(args, "0")[1]), lockmgr.Party{Process: lockmgr.Process{PID: 99}}))
	case "downgrade":
		s.refusal(s.m.Downgrade(s.now, args[0], s.token(args[1])))
	case "renew":
		s.refusal(s.m.Renew(s.now, args[0], s.token(args[1]), s.duration(args[2])))
	case "cancel-conn":
		more = s.m.CancelConn(s.now, lockmgr.ConnID(s.number(args[0])), most)
	case "cancel":
		if !s.m.Cancel(s.now, lockmgr.RequestID(s.number(args[0]))) {
			fmt.Fprintln(&s.out, "> no such wait")
		}
	case "end-conn":
		how, status := s.how(args[1:])
		more = s.m.EndConn(s.now, lockmgr.ConnID(s.number(args[0])), how, status, most)
	case "end-process":
		how, status := s.how(args[1:])
		more = s.m.EndProcess(s.now, s.owner(args[0]).Process, how, status, most)
	case "learn":
		how, status := s.how(args[1:])
		more = s.m.Learn(s.owner(args[0]).Process, how, status, most)
	case "expire":
		s.m.Expire(s.now, most)
	case "reserve":
		s.m.Reserve(s.now, s.token(args[0]))
	default:
		s.t.Fatalf("%s: no such command", line)
	}
	effects := s.m.Effects()
	for _, e := range effects {
		s.effect(e)
	}
	if more {
		fmt.Fprintln(&s.out, "> and more")
	}
	if verb != "start" && verb != "restart" {
		if err := sameAfterReplay(s.m, before, effects); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
	}
	for _, p := range s.m.Known() {
		if !s.m.Unreaped(p) {
			fmt.Fprintf(&s.out, "> nothing more to learn of process %d\n", p.PID)
		}
	}
	if at, ok := s.m.Deadline(); verb == "expire" && ok {
		fmt.Fprintf(&s.out, "> next deadline %s\n", at)
	}
	if err := s.m.Check(); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
}

func (s *runner) request(args []string) lockmgr.Request {
	r := lockmgr.Request{Name: args[0], Owner: s.owner("1"), Wait: lockmgr.Forever}
	for _, arg := range args[1:] {
		option, value, _ := strings.Cut(arg, "=")
		switch option {
		case "and":
			if r.Set == nil {
				r.Set = []string{r.Name}
			}
			r.Set = append(r.Set, value)
		case "by":
			r.Owner = s.owner(value)
		case "conn":
			r.Conn = lockmgr.ConnID(s.number(value))
		case "shared":
			r.Mode = lockmgr.Shared
		case "units":
			r.Units = s.number(value)
		case "limit":
			r.Limit = s.number(value)
		case "try":
			r.Wait = lockmgr.Try
		case "wait":
			r.Wait = s.duration(value)
		case "for":
			switch value {
			case "":
				r.Bind = lockmgr.ToProcess
			case "lease":
				r.Bind = lockmgr.ToLease
			case "nobody":
				r.Bind = lockmgr.ToNobody
			default:
				s.t.Fatalf("%s: no such binding", arg)
			}
		case "lease":
			r.Lease = s.duration(value)
		case "untold":
			r.Untold = true
		case "join":
			r.Join = s.token(value)
		case "with":
			name, token, _ := strings.Cut(value, ":")
			r.Shown = append(r.Shown, lockmgr.Shown{Name: name, Token: s.token(token)})
		case "under":
			r.Ancestors = append(r.Ancestors, s.owner(value).Process)
		case "uid":
			r.UID = uint32(s.number(value))
		case "unit":
			r.Unit = value
		case "why":
			r.Why = value
		default:
			s.t.Fatalf("%s: no such option", arg)
		}
	}
	if r.Conn == 0 {
		r.Conn = lockmgr.ConnID(r.Owner.Process.PID)
	}
	return r
}

func (s *runner) release(name, hold string) error {
	if owner, ok := strings.CutPrefix(hold, "by="); ok {
		c, ok := s.m.Claim(name, s.owner(owner))
		if !ok {
			return lockmgr.ErrNotHeld
		}
		return s.m.Release(s.now, name, c.Token)
	}
	return s.m.Release(s.now, name, s.token(hold))
}

func (s *runner) refusal(err error) {
	if err != nil {
		fmt.Fprintf(&s.out, "> no: %v\n", err)
	}
}

func (s *runner) effect(e lockmgr.Effect) {
	fmt.Fprintf(&s.out, "> %s %q #%d", e.Kind, e.Name, e.ID)
	if e.Kind == lockmgr.Waiting {
		fmt.Fprintf(&s.out, ", place %d", e.Place)
	}
	if e.Token != 0 {
		fmt.Fprintf(&s.out, ", token %d", e.Token)
	}
	if e.Answers != 0 && e.Answers != e.ID {
		fmt.Fprintf(&s.out, ", answers #%d", e.Answers)
	}
	if e.Kind == lockmgr.Reentered || e.Kind == lockmgr.Left && e.End == nil {
		fmt.Fprintf(&s.out, ", entries %d", e.Entries)
	}
	if e.Kind == lockmgr.Renewed || e.Kind == lockmgr.Expiring {
		fmt.Fprintf(&s.out, ", until %s", e.Expires)
	}
	if e.End != nil {
		fmt.Fprintf(&s.out, ", %s", e.End)
	}
	if e.Previous != nil {
		fmt.Fprintf(&s.out, ", previous %s (token %d)", e.Previous, e.Previous.Token)
	}
	if e.Abandoned != nil {
		fmt.Fprintf(&s.out, ", abandoned %s (token %d)", e.Abandoned, e.Abandoned.Token)
	}
	fmt.Fprintln(&s.out)
}

func (s *runner) owner(arg string) (o lockmgr.Owner) {
	var process, pid, start string
	process, o.Label, _ = strings.Cut(arg, ":")
	pid, start, _ = strings.Cut(process, "/")
	o.Process.PID = s.number(pid)
	if start != "" {
		o.Process.Start = uint64(s.number(start))
	}
	return o
}

func (s *runner) how(args []string) (how lockmgr.How, status int) {
	if len(args) == 2 {
		status = s.number(args[1])
	}
	for how := lockmgr.Unknown; how <= lockmgr.Unreaped; how++ {
		if how.String() == args[0] {
			return how, status
		}
	}
	s.t.Fatalf("%s: no such end", args[0])
	return 0, 0
}

func (s *runner) token(arg string) lockmgr.Token { return lockmgr.Token(s.number(arg)) }

func (s *runner) number(arg string) int {
	n, err := strconv.Atoi(arg)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *runner) duration(arg string) time.Duration {
	d, err := time.ParseDuration(arg)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}
