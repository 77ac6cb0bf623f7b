package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// A decision is one event of the daemon about a lock.
type decision struct {
	Event string // the third level of its topic
	PID   int
	Mode  string // "X", "S" or "U"
	Units int
	Token uint64
	Heard int64 // when somebody else had heard of it
}

// A holder is who holds a lock in the models here.
type holder struct {
	token uint64
	mode  string
	units int
}

// fits reports whether a lock with so many units may be held by one more.
func fits(holders []holder, mode string, want, limit int) bool {
	used := 0
	for _, h := range holders {
		if h.mode == "X" || (h.mode == "S") != (mode == "S") {
			return false
		}
		used += h.units
	}
	return len(holders) == 0 || mode == "S" || mode == "U" && used+want <= limit
}

// checkQueue follows the decisions about one lock, in their order: who is granted it was the first in the queue, or came when
// nobody waited; only compatible holders hold it; and tokens rise.
func checkQueue(decisions []decision, limit int) error {
	var (
		queue   []decision
		holders []holder
		last    uint64
	)
	for i, d := range decisions {
		wrong := func(format string, args ...any) error {
			return fmt.Errorf("decision %d (%+v): "+format, append([]any{i, d}, args...)...)
		}
		at := slices.IndexFunc(queue, func(w decision) bool { return w.PID == d.PID })
		switch d.Event {
		case "waiting":
			queue = append(queue, d)
		case "timedout", "cancelled":
			if at < 0 {
				return wrong("it did not wait")
			}
			queue = slices.Delete(queue, at, at+1)
		case "acquired":
			switch {
			case at > 0:
				return wrong("process %d was before it", queue[0].PID)
			case at < 0 && len(queue) > 0:
				return wrong("it did not wait, and process %d did", queue[0].PID)
			case !fits(holders, d.Mode, d.Units, limit):
				return wrong("it is held by %v", holders)
			case d.Token <= last:
				return wrong("the token before was %d", last)
			}
			if at == 0 {
				queue = queue[1:]
			}
			last = d.Token
			holders = append(holders, holder{d.Token, d.Mode, d.Units})
		case "released":
			held := slices.IndexFunc(holders, func(h holder) bool { return h.token == d.Token })
			if held < 0 {
				return wrong("nobody holds it with that token")
			}
			holders = slices.Delete(holders, held, held+1)
		}
		if len(queue) > 0 && fits(holders, queue[0].Mode, queue[0].Units, limit) &&
			(i+1 == len(decisions) || decisions[i+1].Event == "waiting") {
			return wrong("process %d waits for nothing", queue[0].PID)
		}
	}
	if len(queue)+len(holders) > 0 {
		return fmt.Errorf("in the end %v hold it, and %v wait", holders, queue)
	}
	return nil
}

// An operation is one thing that a process did, or that happened to it, between two moments.
type operation struct {
	Client           int
	Take             bool // else it gives back
	Mode             string
	Units            int
	Token            uint64
	Called, Returned int64
}

// forever is the end of an operation that was never heard to have ended.
const forever = math.MaxInt64

// checkLinear reports whether the operations on one lock are what a simple lock would have allowed, in some order that keeps
// to their times.
func checkLinear(ops []operation, limit int) error {
	type state struct {
		holders []holder // by token
		last    uint64
	}
	model := porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, _ any) (bool, any) {
			before, op := s.(state), input.(operation)
			if op.Take {
				if op.Token <= before.last || !fits(before.holders, op.Mode, op.Units, limit) {
					return false, s
				}
				held := append(slices.Clone(before.holders), holder{op.Token, op.Mode, op.Units})
				return true, state{held, op.Token}
			}
			at := slices.IndexFunc(before.holders, func(h holder) bool { return h.token == op.Token })
			if at < 0 {
				return false, s
			}
			return true, state{slices.Delete(slices.Clone(before.holders), at, at+1), before.last}
		},
		Equal: func(a, b any) bool {
			return a.(state).last == b.(state).last && slices.Equal(a.(state).holders, b.(state).holders)
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprintf("%+v", input) },
	}
	history := make([]porcupine.Operation, len(ops))
	for i, op := range ops {
		history[i] = porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Called, Return: op.Returned}
	}
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	switch porcupine.CheckOperationsTimeout(model, history, time.Minute) {
	case porcupine.Illegal:
		return fmt.Errorf("%d operations have no order that a lock would have allowed", len(ops))
	case porcupine.Unknown:
		return fmt.Errorf("no order of %d operations was found in a minute", len(ops))
	}
	return nil
}
