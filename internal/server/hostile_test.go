package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestLockWords: what cannot be meant is refused, and nothing has come of it.
func TestLockWords(t *testing.T) {
	h := start(t)
	c := h.dial3()
	names := func(n int) []string {
		words := []string{"LOCK.ACQUIRE", "n0"}
		for i := 1; i < n; i++ {
			words = append(words, "AND", fmt.Sprint("n", i))
		}
		return words
	}
	shown := func(n int) []string {
		words := []string{"LOCK.ACQUIRE", "a"}
		for i := range n {
			words = append(words, "WITH", fmt.Sprint(i+1), "a")
		}
		return words
	}
	long := func(n int) []string {
		words := []string{"LOCK.ACQUIRE", "a"}
		for i := range n - 1 {
			words = append(words, "AND", fmt.Sprintf("%0200d", i))
		}
		return words
	}
	for _, test := range []struct {
		words []string
		code  wire.Code
		text  string
	}{
		{append(names(32), "AND", "x"), wire.CodeErr, "at most 32 locks are acquired at once"},
		{long(12), wire.CodeErr, "at most 2048 bytes together"},
		{append(names(31), "AND", "n0"), wire.CodeErr, `"n0" is asked for twice`},
		{append(names(3), "AND", "n2"), wire.CodeErr, `"n2" is asked for twice`},
		{append(names(3), "AND"), wire.CodeErr, "wants a value"},
		{append(names(3), "AND", "a\x00b"), wire.CodeBadName, ""},
		{append(names(3), "AND", "\xff"), wire.CodeBadName, ""},
		{append(names(3), "AND", "ipcd/x"), wire.CodeDenied, ""},
		{append(names(3), "JOIN", "1"), wire.CodeErr, "JOIN does not go with AND"},
		{shown(65), wire.CodeErr, "at most 64 holds"},
		{[]string{"LOCK.ACQUIRE", "a", "WITH", "1"}, wire.CodeErr, "WITH wants a token and a name"},
		{[]string{"LOCK.ACQUIRE", "a", "WITH", "x", "a"}, wire.CodeErr, "a token is a positive number"},
		{[]string{"LOCK.ACQUIRE", "a", "WITH", "1", "a/\x1b"}, wire.CodeBadName, ""},
		{[]string{"LOCK.ACQUIRE", "a", "SHARED", "EXCLUSIVE"}, wire.CodeErr, "EXCLUSIVE does not go with SHARED"},
		{[]string{"LOCK.ACQUIRE", "a", "UNITS", "2", "SHARED"}, wire.CodeErr, "SHARED does not go with UNITS"},
		{[]string{"LOCK.ACQUIRE", "a", "UNITS", "2", "UNITS", "3"}, wire.CodeErr, "UNITS does not go with UNITS"},
		{[]string{"LOCK.ACQUIRE", "a", "UNITS", "0"}, wire.CodeErr, "UNITS wants a number from 1 to 1000000"},
		{[]string{"LOCK.ACQUIRE", "a", "UNITS", "-9223372036854775808"}, wire.CodeErr, "UNITS wants"},
		{[]string{"LOCK.ACQUIRE", "a", "LIMIT", "1000001"}, wire.CodeErr, "LIMIT wants"},
		{[]string{"LOCK.ACQUIRE", "a", "LIMIT", "18446744073709551617"}, wire.CodeErr, "LIMIT wants"},
		{[]string{"LOCK.ACQUIRE", "a", "LEASE", "0"}, wire.CodeErr, "LEASE wants"},
		{[]string{"LOCK.ACQUIRE", "a", "LEASE", "9223372036854775807"}, wire.CodeErr, "LEASE wants"},
		{[]string{"LOCK.ACQUIRE", "a", "LEASE", "3153600000001", "FOR", "nobody"}, wire.CodeErr, "LEASE wants"},
		{[]string{"LOCK.ACQUIRE", "a", "JOIN", "0"}, wire.CodeErr, "a token is"},
		{[]string{"LOCK.ACQUIRE", "a", "JOIN", "9007199254740992"}, wire.CodeErr, "a token is"},
		{[]string{"LOCK.ACQUIRE", "a", "FOR", "pid", "FOR", "nobody", "JOIN", "1"}, wire.CodeErr, "neither"},
		{[]string{"LOCK.RELEASE", "a", "1", "2"}, wire.CodeErr, "unknown option"},
		{[]string{"LOCK.RELEASE", "a", "PID", "9223372036854775807"}, wire.CodeErr, "PID wants"},
		{[]string{"LOCK.RELEASE", "a\x00", "1"}, wire.CodeBadName, ""},
		{[]string{"LOCK.RENEW", "a", "0", "LEASE", "1"}, wire.CodeErr, "a token is"},
		{[]string{"LOCK.CHECK", "\x7f", "1"}, wire.CodeBadName, ""},
		{[]string{"LOCK.BREAK", "ipcd/x"}, wire.CodeDenied, ""},
		{[]string{"LOCK.BREAK", "a", "TOKEN", "x"}, wire.CodeErr, "a token is"},
		{[]string{"LOCK.ISDONE", "\xff", "PER", "day"}, wire.CodeBadName, ""},
		{[]string{"LOCK.DONE", "a", "1", "PER", strings.Repeat("x", 1000)}, wire.CodeErr, "PER wants"},
		{[]string{"LOCK.FORGET", ""}, wire.CodeBadName, ""},
	} {
		if test.words[0] == "LOCK.DONE" {
			c.acquire("a")
			test.words[2] = c.info("a").Get("holders").Elems[0].Get("token").Text()
		}
		c.refused(test.code, test.text, test.words...)
	}
	c.do("LOCK.RELEASE", "a")
	h.claims(0)
	c.do(names(32)...)
	c.acquire(shown(64)[1:]...)
	h.claims(33)
}

// endsByTime reports whether all holders of a lock have leases, which may be over before the next command.
func endsByTime(lock wire.Value) bool {
	return !slices.ContainsFunc(lock.Get("holders").Elems, func(h wire.Value) bool { return h.Get("left").Int < 0 })
}

// TestLockNonsense: whatever words come in whatever order, from several connections that come and go, the accounts are right after
// each turn, which the server verifies, and all ends with the connections.
func TestLockNonsense(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 3))
		h := start(t, func(_ *Setup, o *Options) { o.Limits.LocksPerUser = 40 })
		pick := func(from ...string) string { return from[random.IntN(len(from))] }
		name := func() string { return pick("a", "b", "c", "d", "e", "a/+", "a\x1b", "ipcd/x") }
		observer := h.dial3()
		token := func() string {
			if holders := observer.info(pick("a", "b", "c", "d", "e")).Get("holders").Elems; len(holders) > 0 {
				return holders[random.IntN(len(holders))].Get("token").Text()
			}
			return pick("0", "1", "x")
		}
		option := func() []string {
			switch random.IntN(11) {
			case 0, 1:
				return []string{"AND", name()}
			case 2:
				return []string{pick("SHARED", "EXCLUSIVE", "UNTOLD")}
			case 3:
				return []string{"UNITS", pick("1", "2", "3", "0")}
			case 4:
				return []string{"LIMIT", pick("1", "2", "3")}
			case 5:
				return []string{"WAIT", pick("0", "1", "2", "-1")}
			case 6:
				return []string{"LEASE", pick("1", "2", "1000", "99999999999")}
			case 7:
				return []string{"FOR", pick("self", "nobody", "pid")}
			case 8:
				return []string{"WITH", token(), name()}
			case 9:
				return []string{"JOIN", token()}
			}
			return []string{"OWNER", pick("1", "2", "3", "4")}
		}
		clients := make([]*client, 4)
		for range 1500 {
			i := random.IntN(len(clients))
			if clients[i] == nil {
				clients[i] = h.dial3()
			}
			var words []string
			switch random.IntN(12) {
			case 0:
				words = []string{"LOCK.RELEASE", name(), token()}
			case 1:
				words = []string{"LOCK.RELEASE", name()}
			case 2:
				words = []string{"LOCK.BREAK", name(), pick("PIDFD", "WHY", "TOKEN"), token()}
			case 3:
				words = []string{"LOCK.RENEW", name(), token(), "LEASE", pick("1", "3", "1000")}
			case 4:
				words = []string{pick("LOCK.DOWNGRADE", "LOCK.TOLD"), name(), token()}
			case 5:
				words = []string{"LOCK.RELEASE", name(), token(), pick("UNTOLD", "PID")}
			case 6:
				words = []string{pick("LOCK.FORGET", "LOCK.INFO", "LOCK.BREAK"), name()}
			case 7:
				if random.IntN(4) == 0 {
					clients[i].close()
					clients[i] = nil
					continue
				}
				words = []string{"RESET"}
				clients[i].cmd(words...)
				words = []string{"HELLO", "3"}
			default:
				words = []string{"LOCK.ACQUIRE", name(), "ASYNC"}
				for range random.IntN(5) {
					words = append(words, option()...)
				}
			}
			clients[i].cmd(words...)
			clients[i].send("ECHO over\r\n")
			for v := clients[i].value(); v.Kind != wire.KindBulk || v.Str != "over"; {
				v = clients[i].value()
			}
		}
		for _, c := range clients {
			if c != nil {
				c.close()
			}
		}
		h.quiesce(observer)
		h.until("the connections' holds are over", func() bool { return h.figures().Endings == 0 })
		for _, lock := range observer.do("LOCK.LIST").Elems {
			observer.cmd("LOCK.BREAK", lock.Get("name").Str)
			err := observer.value().Err()
			if over := errors.Is(err, ipc.ErrNoLock) && endsByTime(lock); err != nil && !over {
				t.Errorf("%q: %v", lock.Get("name").Str, err)
			}
		}
		h.until("all is over", func() bool { return h.figures().Held+h.figures().Waiting == 0 && h.figures().Endings == 0 })
		h.claims(0)
		h.on(func() {
			if h.figures().Requests+h.figures().Processes+h.figures().Operators != 0 {
				t.Errorf("left: %d waits, %d processes, %d holds of operators", h.figures().Requests, h.figures().Processes, h.figures().Operators)
			}
		})
		h.stop()
	}
}
