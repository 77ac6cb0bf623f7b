package lockmgr_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ipcd/ipcd/lockmgr"
)

// Many steps, chosen at random, always the same ones.
func TestRandomSteps(t *testing.T) {
	const seeds, steps = 20, 2000
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := newPair(rand.New(rand.NewPCG(uint64(seed), 0)).IntN)
			for range steps {
				if err := p.step(); err != nil {
					t.Fatal(p.failure(err))
				}
			}
		})
	}
}

// Fewer steps, other ones each time; rapid looks for the shortest sequence that goes wrong.
func TestShortestSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") })
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if err := p.step(); err != nil {
				t.Fatal(p.failure(err))
			}
		}
	})
}

// A pair is a Manager and the model, which are led through the same steps.
type pair struct {
	pick  func(n int) int // gives a number below n
	real  *lockmgr.Manager
	model *model
	now   lockmgr.Time
	log   []string
}

func newPair(pick func(int) int) *pair {
	return &pair{pick: pick, real: lockmgr.New(0, 40), model: newModel(40)}
}

// An outcome is all that can be seen of a Manager after a step.
type outcome struct {
	Answer     any // of the call
	Effects    []lockmgr.Effect
	Locks      []lockmgr.View
	Last, Mark lockmgr.Token
	Deadline   time.Duration
	Waiting    bool // there is a deadline
}

var names = []string{"a", "b", "c"}

// step leads both through one step. The error is a difference, or a rule that was broken.
func (p *pair) step() error {
	p.now.Boot += time.Duration(p.pick(3))
	p.now.Real += int64(p.pick(5)) - 1
	lastBefore, _ := p.real.Tokens()

	var got, want outcome
	got.Answer, want.Answer = p.call()
	if err := p.real.Check(); err != nil {
		return err
	}
	got.Effects = append(got.Effects, p.real.Effects()...)
	if err := fair(p.real, lastBefore, got.Effects); err != nil {
		return err
	}
	want.Effects, p.model.effects = p.model.effects, nil
	for _, name := range names {
		got.Locks = append(got.Locks, p.real.View(name))
		want.Locks = append(want.Locks, p.model.view(name))
	}
	got.Last, got.Mark = p.real.Tokens()
	want.Last, want.Mark = p.model.last, p.model.mark
	got.Deadline, got.Waiting = p.real.Deadline()
	_, want.Deadline, want.Waiting = p.model.deadline()
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("the model says (-), the manager (+):\n%s", cmp.Diff(want, got))
	}
	return p.lookups()
}

// call calls the same method of both.
func (p *pair) call() (got, want any) {
	switch p.pick(16) {
	case 8, 9, 10:
		name, token := p.name(), lockmgr.Token(p.pick(int(p.model.last)+2))
		if h := p.real.View(name).Holders; len(h) > 0 && p.pick(4) > 0 {
			token = h[p.pick(len(h))].Token
		}
		p.logf("release %s %d", name, token)
		return p.real.Release(p.now, name, token), p.model.release(p.now, name, token)
	case 11:
		id := lockmgr.RequestID(p.pick(int(p.model.lastID) + 2))
		if w := p.real.View(p.name()).Waiters; len(w) > 0 && p.pick(4) > 0 {
			id = w[p.pick(len(w))].ID
		}
		p.logf("cancel %d", id)
		return p.real.Cancel(p.now, id), p.model.cancel(p.now, id)
	case 12:
		id, how, status := p.conn(), p.how(), p.pick(3)
		p.logf("end connection %d: %s", id, how)
		p.real.EndConn(p.now, id, how, status)
		p.model.endConn(p.now, id, how, status)
	case 13:
		process, how, status := p.process(), p.how(), p.pick(3)
		p.logf("end process %v: %s", process, how)
		p.real.EndProcess(p.now, process, how, status)
		p.model.endProcess(p.now, process, how, status)
	case 14:
		p.logf("expire")
		p.real.Expire(p.now)
		p.model.expire(p.now)
	case 15:
		mark := p.model.last + lockmgr.Token(p.pick(30))
		p.logf("reserve %d", mark)
		p.real.Reserve(p.now, mark)
		p.model.reserve(p.now, mark)
	default:
		r := p.request()
		p.logf("acquire %+v", r)
		id, err := p.real.Acquire(p.now, r)
		refusal := p.model.acquire(p.now, r)
		if refusal == nil {
			return id, p.model.lastID
		}
		return err, refusal
	}
	return nil, nil
}

// lookups asks for a lock by owner and by token, and for all of a process.
func (p *pair) lookups() error {
	name, owner := p.name(), p.owner()
	var want, wantAll, all []lockmgr.Claim
	for _, c := range p.model.claims {
		if c.Owner.Process == owner.Process {
			wantAll = append(wantAll, c)
		}
		if c.Name == name && c.Owner == owner {
			want = append(want, c)
		}
	}
	for c := range p.real.Claims(owner.Process) {
		all = append(all, c)
	}
	if !reflect.DeepEqual(all, wantAll) {
		diff := cmp.Diff(wantAll, all)
		return fmt.Errorf("claims of %v: the model says (-), the manager (+):\n%s", owner.Process, diff)
	}
	c, ok := p.real.Claim(name, owner)
	if ok != (len(want) == 1) || ok && c != want[0] {
		return fmt.Errorf("claim of %v on %s is %+v, and not %+v", owner, name, c, want)
	}
	if h, err := p.real.Hold(name, c.Token); ok && c.Token != 0 && (err != nil || h != c) {
		return fmt.Errorf("hold %d is %+v, and not %+v (%v)", c.Token, h, c, err)
	}
	return nil
}

func (p *pair) request() lockmgr.Request {
	r := lockmgr.Request{
		Name: p.name(), Mode: lockmgr.Mode(p.pick(2)), Owner: p.owner(), Conn: p.conn(),
		Bind: lockmgr.Binding(p.pick(2)), Info: lockmgr.Info{UID: uint32(p.pick(2))},
	}
	switch p.pick(4) {
	case 0:
		r.Wait = lockmgr.Try
	case 1:
		r.Wait = time.Duration(1 + p.pick(20))
	default:
		r.Wait = lockmgr.Forever
	}
	return r
}

func (p *pair) name() string         { return names[p.pick(len(names))] }
func (p *pair) conn() lockmgr.ConnID { return lockmgr.ConnID(p.pick(5)) }
func (p *pair) how() lockmgr.How     { return lockmgr.How(p.pick(int(lockmgr.Disconnected) + 1)) }

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
