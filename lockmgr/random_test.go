package lockmgr_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ipcd/ipcd/lockmgr"
)

// Many steps, chosen at random, always the same ones.
func TestRandomSteps(t *testing.T) {
	const seeds, steps = 20, 1000
	kinds := slices.Sorted(maps.Keys(stepKinds))
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(seed), 0))
			p := newPair(random.IntN)
			for range steps {
				kind := "acquire"
				if random.IntN(2) > 0 {
					kind = kinds[random.IntN(len(kinds))]
				}
				if err := p.step(stepKinds[kind]); err != nil {
					t.Fatal(p.failure(err))
				}
			}
		})
	}
}

// Fewer steps, other ones each time; rapid looks for the shortest sequence that goes wrong.
func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		actions := map[string]func(*rapid.T){}
		for kind, call := range stepKinds {
			actions[kind] = func(t *rapid.T) {
				if err := p.step(call); err != nil {
					t.Fatal(p.failure(err))
				}
			}
		}
		t.Repeat(actions)
	})
}

// A pair is a Manager and the model, which are led through the same steps.
type pair struct {
	pick  func(n int) int // gives a number below n
	real  *lockmgr.Manager
	model *model
	now   lockmgr.Time
	log   []string
	look  lockmgr.View // of whichever lock

	// A snapshot of some time ago and the effects of each step since then: what a daemon has after a crash.
	snapshot lockmgr.Snapshot
	journal  [][]lockmgr.Effect
}

func newPair(pick func(int) int) *pair {
	p := &pair{pick: pick, real: lockmgr.New(0, 40), model: newModel(40)}
	p.snapshot = p.real.Snapshot()
	return p
}

// An outcome is all that can be seen of a Manager after a step.
type outcome struct {
	Answer     any // of the call
	Effects    []lockmgr.Effect
	Locks      []lockmgr.View
	Last, Mark lockmgr.Token
	Deadline   time.Duration
	Waiting    bool // whether there is a deadline
}

var names = []string{"a", "b", "c", "s/3"}

// step takes one step with both and reports a difference, or a rule that was broken.
func (p *pair) step(call func(*pair) (got, want any)) error {
	p.now.Boot += time.Duration(p.pick(3))
	p.now.Real += int64(p.pick(5)) - 1
	lastBefore, _ := p.real.Tokens()

	unknown := p.unknown()
	var got, want outcome
	got.Answer, want.Answer = call(p)
	if err := p.real.Check(); err != nil {
		return err
	}
	got.Effects = append(got.Effects, p.real.Effects()...)
	if err := fair(p.real, lastBefore, got.Effects); err != nil {
		return err
	}
	want.Effects, p.model.effects = p.model.effects, nil
	for _, name := range names {
		view := p.real.View(name)
		got.Locks = append(got.Locks, view)
		p.real.Look(name, &p.look)
		// What is reused may be empty where the other is nil, which is not said.
		if !reflect.DeepEqual(p.look, view) && fmt.Sprint(p.look) != fmt.Sprint(view) {
			return fmt.Errorf("%s looks like %+v, and not like %+v", name, p.look, view)
		}
		want.Locks = append(want.Locks, p.model.view(name))
	}
	got.Last, got.Mark = p.real.Tokens()
	want.Last, want.Mark = p.model.last, p.model.mark
	got.Deadline, got.Waiting = p.real.Deadline()
	_, want.Deadline, want.Waiting = p.model.deadline()
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("the model says (-), the manager (+):\n%s", cmp.Diff(want, got))
	}
	known := p.real.Known()
	for process := range unknown {
		if !p.unknown()[process] && !slices.Contains(known, process) && len(got.Effects) > 0 {
			return fmt.Errorf("nobody was told that there is nothing more to learn of %v", process)
		}
	}
	p.journal = append(p.journal, got.Effects)
	if p.pick(16) == 0 {
		if err := sameAfterReplay(p.real, p.snapshot, p.journal...); err != nil {
			return err
		}
		p.snapshot, p.journal = p.real.Snapshot(), nil
	}
	return p.lookups()
}

// unknown are the processes of which there is something to learn.
func (p *pair) unknown() map[lockmgr.Process]bool {
	all := map[lockmgr.Process]bool{}
	for pid := 1; pid <= 3; pid++ {
		for start := range uint64(2) {
			if process := (lockmgr.Process{PID: pid, Start: start}); p.real.Unreaped(process) {
				all[process] = true
			}
		}
	}
	return all
}

// stepKinds are the methods; each is called on both.
var stepKinds = map[string]func(*pair) (got, want any){
	"acquire": func(p *pair) (got, want any) {
		r := p.request()
		p.logf("acquire %+v", r)
		id, err := p.real.Acquire(p.now, r)
		wantID, wantErr := p.model.acquire(p.now, r, errors.Is(err, lockmgr.ErrDeadlock))
		var deadlock *lockmgr.DeadlockError
		if errors.As(err, &deadlock) {
			if err := p.model.checkCycle(r, deadlock.Cycle); err != nil {
				return err, nil
			}
		}
		if errors.Is(err, wantErr) {
			err = wantErr
		}
		return []any{id, err}, []any{wantID, wantErr}
	},
	"release": func(p *pair) (got, want any) {
		name, token := p.hold()
		p.logf("release %s %d", name, token)
		return p.real.Release(p.now, name, token), p.model.release(p.now, name, token)
	},
	"release once more": func(p *pair) (got, want any) {
		name, token := p.hold()
		p.logf("release %s %d", name, token)
		return p.real.Release(p.now, name, token), p.model.release(p.now, name, token)
	},
	"give back": func(p *pair) (got, want any) {
		name, token := p.hold()
		p.logf("give back %s %d", name, token)
		return p.real.GiveBack(p.now, name, token), p.model.giveBack(p.now, name, token)
	},
	"told": func(p *pair) (got, want any) {
		name, token := p.hold()
		p.logf("told %s %d", name, token)
		return p.real.Told(name, token), p.model.told(name, token)
	},
	"leave": func(p *pair) (got, want any) {
		name, token := p.hold()
		process := p.process()
		p.logf("leave %s %d %v", name, token, process)
		return p.real.Leave(p.now, name, token, process), p.model.leaveHold(p.now, name, token, process)
	},
	"break": func(p *pair) (got, want any) {
		name, token := p.hold()
		token *= lockmgr.Token(p.pick(2))
		by := lockmgr.Party{Process: p.process()}
		p.logf("break %s %d", name, token)
		return p.real.Break(p.now, name, token, by), p.model.breakIt(p.now, name, token, by)
	},
	"downgrade": func(p *pair) (got, want any) {
		name, token := p.hold()
		p.logf("downgrade %s %d", name, token)
		return p.real.Downgrade(p.now, name, token), p.model.downgrade(p.now, name, token)
	},
	"renew": func(p *pair) (got, want any) {
		name, token := p.hold()
		lease := p.lease()
		p.logf("renew %s %d %d", name, token, lease)
		return p.real.Renew(p.now, name, token, lease), p.model.renew(p.now, name, token, lease)
	},
	"cancel": func(p *pair) (got, want any) {
		id := lockmgr.RequestID(p.pick(int(p.model.lastID) + 2))
		if w := p.real.View(p.name()).Waiters; len(w) > 0 && p.pick(4) > 0 {
			id = w[p.pick(len(w))].ID
		}
		p.logf("cancel %d", id)
		return p.real.Cancel(p.now, id), p.model.cancel(p.now, id)
	},
	"cancel connection": func(p *pair) (got, want any) {
		id, most := p.conn(), p.most()
		p.logf("cancel connection %d, %d of it", id, most)
		return p.real.CancelConn(p.now, id, most), p.model.cancelConn(p.now, id, most)
	},
	"end connection": func(p *pair) (got, want any) {
		id, how, status, most := p.conn(), p.how()%lockmgr.Expired, p.pick(3), p.most()
		p.logf("end connection %d, %d of it: %s", id, most, how)
		return p.real.EndConn(p.now, id, how, status, most), p.model.endConn(p.now, id, how, status, most)
	},
	"end process": func(p *pair) (got, want any) {
		process, how, status := p.process(), p.how(), p.pick(3)
		if how == lockmgr.Unreaped && p.real.Unreaped(process) {
			how = lockmgr.Unknown // a process ends once, and its claims with it
		}
		most := p.most()
		p.logf("end process %v, %d of it: %s", process, most, how)
		return p.real.EndProcess(p.now, process, how, status, most), p.model.endProcess(p.now, process, how, status, most)
	},
	"learn": func(p *pair) (got, want any) {
		process, how, status := p.process(), p.how(), p.pick(3)
		most := p.most()
		p.logf("learn %v, %d of it: %s", process, most, how)
		return p.real.Learn(process, how, status, most), p.model.learn(process, how, status, most, names)
	},
	"expire": func(p *pair) (got, want any) {
		most := p.most()
		p.logf("expire %d", most)
		p.real.Expire(p.now, most)
		p.model.expire(p.now, most)
		return nil, nil
	},
	"reserve": func(p *pair) (got, want any) {
		mark := p.model.last + lockmgr.Token(p.pick(30))
		p.logf("reserve %d", mark)
		p.real.Reserve(p.now, mark)
		p.model.reserve(p.now, mark)
		return nil, nil
	},
	"limits": func(p *pair) (got, want any) {
		limits := []map[string]int{nil, {"s/3": 3}, {"s/3": 2, "c": 2}}[p.pick(3)]
		p.logf("limits %v", limits)
		p.real.SetLimits(limits)
		p.model.limits = limits
		return nil, nil
	},
	// The daemon crashes, and a new one goes on with what was written.
	"crash": func(p *pair) (got, want any) {
		p.logf("crash")
		last, mark := p.real.Tokens()
		p.real = lockmgr.Restore(p.snapshot, last, mark)
		for _, effects := range p.journal {
			p.real.Replay(effects)
		}
		p.real = lockmgr.Restore(p.real.Snapshot(), 0, mark)
		p.real.SetLimits(p.model.limits)
		p.model.restart(names)
		return nil, nil
	},
}

// lookups asks for a lock by owner and by token, and for all of a process.
func (p *pair) lookups() error {
	name, owner := p.name(), p.owner()
	if got, want := p.real.Unreaped(owner.Process), p.model.unreaped(owner.Process); got != want {
		return fmt.Errorf("there is something to learn of %v: the model says %v, the manager %v", owner.Process, want, got)
	}
	var wantAll, held []*modelClaim
	for _, c := range p.model.claims {
		switch {
		case c.Owner.Process != owner.Process:
		case c.Token == 0:
			wantAll = append(wantAll, c)
		case c.Bind == lockmgr.ToConnection || c.Bind == lockmgr.ToProcess:
			held = append(held, c)
		}
	}
	slices.SortFunc(held, func(a, b *modelClaim) int { return a.entered - b.entered })
	var all, want []lockmgr.Claim
	for _, c := range append(wantAll, held...) {
		want = append(want, c.Claim)
	}
	for c := range p.real.Claims(owner.Process) {
		all = append(all, c)
	}
	if !reflect.DeepEqual(all, want) {
		return fmt.Errorf("claims of %v: the model says (-), the manager (+):\n%s", owner.Process, cmp.Diff(want, all))
	}
	own := p.model.ownClaim(lockmgr.Request{Owner: owner}, name)
	c, ok := p.real.Claim(name, owner)
	if ok != (own != nil) || ok && !reflect.DeepEqual(c, own.Claim) {
		return fmt.Errorf("claim of %v on %s is %+v, and not %+v", owner, name, c, own)
	}
	if c.Token != 0 {
		members, _ := p.model.members(name, c.Token)
		if h, err := p.real.Hold(name, c.Token); err != nil || !reflect.DeepEqual(h, members[0].Claim) {
			return fmt.Errorf("hold %d is %+v, and not %+v (%v)", c.Token, h, members[0], err)
		}
	}
	return nil
}

func (p *pair) request() lockmgr.Request {
	r := lockmgr.Request{
		Name: p.name(), Owner: p.owner(), Conn: p.conn(), Bind: lockmgr.Binding(p.pick(4)),
		Untold: p.pick(3) == 0, Info: lockmgr.Info{UID: uint32(p.pick(2))},
	}
	switch p.pick(5) {
	case 0:
		r.Mode = lockmgr.Shared
	case 1, 2:
		r.Units = 1 + p.pick(3)
	}
	if p.pick(4) == 0 || r.Name == "s/3" {
		r.Limit = 1 + p.pick(3)
	}
	switch p.pick(6) {
	case 0:
		r.Wait = lockmgr.Try
	case 1:
		r.Wait = time.Duration(1 + p.pick(20))
	default:
		r.Wait = lockmgr.Forever
	}
	if p.pick(4) == 0 || r.Bind == lockmgr.ToLease {
		r.Lease = p.lease()
	}
	switch p.pick(10) {
	case 0, 1:
		for _, i := range []int{p.pick(len(names)), p.pick(len(names))} {
			if !slices.Contains(append(r.Set, r.Name), names[i]) {
				r.Set = append(r.Set, names[i])
			}
		}
		r.Set = append([]string{r.Name}, r.Set...)
	case 2:
		r.Name, r.Join = p.hold()
	}
	for range max(p.pick(5)-2, 0) {
		name, token := p.hold()
		r.Shown = append(r.Shown, lockmgr.Shown{Name: name, Token: token})
	}
	for _, name := range namesOf(r) {
		if own := p.model.ownClaim(r, name); own != nil && own.Token != 0 && p.pick(2) == 0 {
			r.Shown = append(r.Shown, lockmgr.Shown{Name: name, Token: own.Token})
		}
	}
	if p.pick(4) == 0 {
		r.Ancestors = []lockmgr.Process{p.process()}
	}
	return r
}

// hold is mostly one that is there.
func (p *pair) hold() (string, lockmgr.Token) {
	name, token := p.name(), lockmgr.Token(p.pick(int(p.model.last)+2))
	if h := p.real.View(name).Holders; len(h) > 0 && p.pick(4) > 0 {
		token = h[p.pick(len(h))].Token
	}
	return name, token
}

func (p *pair) name() string         { return names[p.pick(len(names))] }
func (p *pair) conn() lockmgr.ConnID { return lockmgr.ConnID(p.pick(5)) }
func (p *pair) lease() time.Duration { return time.Duration(1 + p.pick(20)) }

// most is how much a step does at most.
func (p *pair) most() int { return []int{lockmgr.All, 1, 2, lockmgr.All}[p.pick(4)] }

// how is one of the ways in which a process ends, or a connection.
func (p *pair) how() lockmgr.How {
	if how := lockmgr.How(p.pick(int(lockmgr.Disconnected) + 3)); how <= lockmgr.Disconnected {
		return how
	}
	return lockmgr.Unreaped
}

func (p *pair) process() lockmgr.Process {
	return lockmgr.Process{PID: 1 + p.pick(3), Start: uint64(p.pick(2))}
}

func (p *pair) owner() lockmgr.Owner {
	return lockmgr.Owner{Process: p.process(), Label: []string{"", "x"}[p.pick(2)]}
}

func (p *pair) logf(format string, args ...any) {
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

// failure tells an error with the steps that led to it.
func (p *pair) failure(err error) string {
	return fmt.Sprintf("%v\nafter %d steps, the last of which:\n%s", err, len(p.log),
		strings.Join(p.log[max(0, len(p.log)-40):], "\n"))
}
