package history

import "testing"

// What finds nothing is worth nothing: each of these is a history that no lock has.
func TestBadHistories(t *testing.T) {
	take := func(token uint64, mode string, from, to int64) operation {
		return operation{Client: int(token), Take: true, Mode: mode, Units: 1, Token: token, Called: from, Returned: to}
	}
	give := func(token uint64, from, to int64) operation {
		return operation{Client: int(token), Token: token, Called: from, Returned: to}
	}
	for name, ops := range map[string][]operation{
		"two holders":            {take(1, "X", 0, 1), take(2, "X", 2, 3), give(1, 4, 5), give(2, 4, 5)},
		"a reader and a writer":  {take(1, "S", 0, 1), take(2, "X", 2, 3), give(1, 4, 5), give(2, 6, 7)},
		"a token that falls":     {take(2, "X", 0, 1), give(2, 2, 3), take(1, "X", 4, 5)},
		"a token given twice":    {take(1, "X", 0, 1), give(1, 2, 3), take(1, "X", 4, 5)},
		"given back, never held": {take(1, "X", 0, 1), give(1, 2, 3), give(1, 4, 5)},
		"too many units": {take(1, "U", 0, 1), take(2, "U", 2, 3), take(3, "U", 4, 5), take(4, "U", 6, 7),
			give(1, 8, 9)},
	} {
		if checkLinear(ops, units) == nil {
			t.Errorf("%s: was not found", name)
		}
	}
	good := []operation{take(1, "X", 0, 5), give(1, 1, 8), take(2, "S", 2, 9), take(3, "S", 2, 12), give(3, 10, forever), give(2, 10, 11)}
	if err := checkLinear(good, 1); err != nil {
		t.Error(err)
	}
}

func TestBadQueues(t *testing.T) {
	wait := func(pid int, mode string) decision { return decision{Event: "waiting", PID: pid, Mode: mode, Units: 1} }
	get := func(pid int, token uint64, mode string) decision {
		return decision{Event: "acquired", PID: pid, Mode: mode, Units: 1, Token: token}
	}
	end := func(token uint64) decision { return decision{Event: "released", Token: token} }
	for name, decisions := range map[string][]decision{
		"overtaken":            {get(1, 1, "X"), wait(2, "X"), wait(3, "X"), end(1), get(3, 2, "X"), end(2), get(2, 3, "X"), end(3)},
		"barged in":            {get(1, 1, "S"), wait(2, "X"), get(3, 2, "S"), end(1), end(2), get(2, 3, "X"), end(3)},
		"two holders":          {get(1, 1, "X"), get(2, 2, "X"), end(1), end(2)},
		"a token that repeats": {get(1, 1, "X"), end(1), get(2, 1, "X"), end(1)},
		"waits for nothing":    {get(1, 1, "X"), wait(2, "X"), end(1), wait(3, "X"), get(2, 2, "X"), end(2), get(3, 3, "X"), end(3)},
		"held for ever":        {get(1, 1, "X")},
		"ended twice":          {get(1, 1, "X"), end(1), end(1)},
		"cancelled, no wait":   {{Event: "cancelled", PID: 1}},
	} {
		if checkQueue(decisions, 1) == nil {
			t.Errorf("%s: was not found", name)
		}
	}
	good := []decision{get(1, 1, "X"), wait(2, "S"), wait(3, "S"), end(1), get(2, 2, "S"), get(3, 3, "S"), wait(4, "X"), end(2), end(3),
		get(4, 4, "X"), end(4)}
	if err := checkQueue(good, 1); err != nil {
		t.Error(err)
	}
}
