package commands

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A maker makes commands.
type maker struct {
	rng      *rand.Rand
	rows     []node // of wire.Commands
	learned  []string
	grants   []grant
	meant    grant // what the command that is being made is about
	requests int
}

// A grant is a name, and a token that belongs to it.
type grant struct{ name, token string }

func newMaker(rng *rand.Rand) *maker {
	m := &maker{rng: rng}
	for i := range wire.Commands {
		m.rows = append(m.rows, parse(wire.Commands[i].Args))
	}
	return m
}

// learn takes up a number that the daemon has told: a token, a ticket, a connection.
func (m *maker) learn(number string) {
	if len(m.learned) < 64 {
		m.learned = append(m.learned, number)
		return
	}
	m.learned[m.rng.IntN(len(m.learned))] = number
}

// learnGrant takes up one that may last.
func (m *maker) learnGrant(g grant) {
	m.grants = append(m.grants[max(0, len(m.grants)-7):], g)
}

// command makes one of a row: its words, and whether it may keep the connection from going on.
func (m *maker) command(row int) (words []string, blocks bool) {
	c := &wire.Commands[row]
	words = append(strings.Fields(c.Name), m.rows[row].words(m.rng, m.value)...)
	switch m.rng.IntN(60) {
	case 0: // a word too many
		words = append(words, m.anything())
	case 1: // one too few
		words = words[:len(words)-1]
	case 2: // one that is something else
		words[m.rng.IntN(len(words))] = m.anything()
	case 3: // two that change places
		i, j := m.rng.IntN(len(words)), m.rng.IntN(len(words))
		words[i], words[j] = words[j], words[i]
	case 4: // in another case
		i := m.rng.IntN(len(words))
		words[i] = strings.ToLower(words[i])
	}
	if c.Name == "LOCK.ACQUIRE" {
		blocks = true
		for i, word := range words {
			if word == "WAIT" && i+1 < len(words) {
				n, err := strconv.Atoi(words[i+1])
				blocks = err != nil || n > 5
			}
		}
		if blocks && m.rng.IntN(4) > 0 {
			words, blocks = append(words, "WAIT", strconv.Itoa(m.rng.IntN(3))), false
		}
		for _, word := range words {
			blocks = blocks || word == "REQID" // it waits for another of the same id
		}
	}
	if c.Name == "BUS.REQ" { // somebody may serve it who does not answer, and a half-close does not end it
		words = append(words, "TIMEOUT", strconv.Itoa(1+m.rng.IntN(3)))
	}
	return words, blocks
}

// pools are values by what they are called; the others are anything.
var pools = map[string][]string{
	"name":     {"a", "b", "s/3", "c/d", "e"},
	"key":      {"a", "b", "s/3"},
	"topic":    {"t", "t/u", "ipcd/x", "v"},
	"channel":  {"t", "t/u", "v", "t#/#", "+", "", "\xff\x00", "ipcd/x"},
	"filter":   {"t", "t/+", "#", "+/u", "ipcd/#"},
	"pattern":  {"t", "t*", "*", "[a-z]?", "t#/#*", "ipcd/filter/#", "ipcd/filter-json/t/+", "ipcd/filter/+x"},
	"glob":     {"lock*", "*", "[a-z]"},
	"protover": {"2", "3"},
	"index":    {"0"},
	"command":  {"ping", "lock.acquire", "client", "nothing"},
	"n":        {"1", "2", "3"},
	"ms":       {"0", "1", "2", "50", "3000"},
	"label":    {"", "x", "y"},
	"t":        {"normal", "pubsub", "replica"},
	"yes":      {"yes", "no"},
	"s":        {"0", "100000"},
	"password": {"secret"},
}

func (m *maker) value(called string) string {
	if m.rng.IntN(25) == 0 {
		return m.anything()
	}
	if len(m.grants) > 0 && m.rng.IntN(2) == 0 {
		switch called {
		case "name", "key":
			m.meant = m.grants[m.rng.IntN(len(m.grants))]
			return m.meant.name
		case "token":
			return m.meant.token
		}
	}
	switch called {
	case "token", "ticket", "id-or-addr":
		if len(m.learned) > 0 {
			return m.learned[m.rng.IntN(len(m.learned))]
		}
	case "id": // of a connection, or a request
		if m.rng.IntN(2) == 0 && len(m.learned) > 0 {
			return m.learned[m.rng.IntN(len(m.learned))]
		}
		if m.rng.IntN(4) > 0 {
			m.requests++
		}
		return fmt.Sprintf("id-%d", m.requests)
	case "pid":
		return strconv.Itoa(os.Getpid())
	}
	if pool := pools[called]; pool != nil {
		return pool[m.rng.IntN(len(pool))]
	}
	return m.word()
}

// word is some text.
func (m *maker) word() string { return []string{"x", "some text", "y", "é"}[m.rng.IntN(4)] }

// anything is what nobody has asked for.
func (m *maker) anything() string {
	switch m.rng.IntN(6) {
	case 0: // a number, at or beyond a bound
		return []string{
			"0", "-1", "1", "00", "+1", "1e3", "0x10", "64", "65", "200", "255", "1000000", "1000001", "3153600000000", "3153600000001",
			"9007199254740991", "9007199254740992", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551616",
		}[m.rng.IntN(21)]
	case 1: // as long as something may be, and longer
		return strings.Repeat("x", []int{64, 65, 200, 201, 255, 256, 257, 2048, 70_000}[m.rng.IntN(9)])
	case 2: // bytes
		b := make([]byte, m.rng.IntN(20))
		for i := range b {
			b[i] = byte(m.rng.Uint32())
		}
		return string(b)
	case 3: // a keyword out of place
		var words []string
		m.rows[m.rng.IntN(len(m.rows))].keywords(func(word string) { words = append(words, word) })
		if words != nil {
			return words[m.rng.IntN(len(words))]
		}
	}
	return []string{"", " ", "\r\n", "\x00", "*", "#", "+", "a/#", "/", "//", "ipcd/", "ipcd/lock/x", "\xff\xfe", "\u202e", "*1\r\n", "$-1", "é", "名"}[m.rng.IntN(18)]
}
