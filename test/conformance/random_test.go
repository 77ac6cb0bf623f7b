package conformance

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// Random scripts go where nobody thought of writing one. They are the same in each run; what fails is printed as the
// script that leads there, short enough to be put into testdata.
func TestRandomScripts(t *testing.T) {
	redis, ipcd := startRedis(t), startIpcd(t)
	const scripts, length = 30, 200
	used := map[*deviation]bool{}
	for seed := range scripts {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &generator{r: rand.New(rand.NewPCG(uint64(seed), 0)), conns: []string{"a", "b", "c", "d"}}
			a, b := newPlayer(t, redis), newPlayer(t, ipcd)
			var played []string
			held := map[string]string{}
			for range length {
				for _, line := range g.lines() {
					steps, err := parseScript(line)
					if err != nil {
						t.Fatal(err)
					}
					s := steps[0]
					played = append(played, line)
					if r, d, ok := compare(together(held, s), a.play(s), b.play(s), used); !ok {
						t.Fatalf("%s\n  redis: %s %q\n  ipcd:  %s %q", strings.Join(played, "\n"), r.conn, r.text, d.conn, d.text)
					}
				}
			}
			// The next script must not find this one's subscriptions.
			for _, conn := range g.conns {
				for _, p := range []*player{a, b} {
					if p.conns[conn] != nil {
						p.play(step{conn: conn, send: testdaemon.Cmd("RESET"), wait: true})
						p.held[conn] = false
						p.collect(conn)
					}
				}
			}
		}) {
			return
		}
	}
}

// A generator invents lines of a script.
type generator struct {
	r     *rand.Rand
	conns []string
	ended int
}

func (g *generator) pick(of ...string) string { return of[g.r.IntN(len(of))] }

func (g *generator) channel() string {
	return g.pick("a", "ab", "abc", "b", "x/y", "x/y/z", "[a]", "*", "é", "A", "", "#", "a#/#", "+", "a\x00", "\xff",
		strings.Repeat("ab", 200))
}

func (g *generator) pattern() string {
	if g.r.IntN(3) > 0 {
		return g.pick("a*", "*", "?", "[ab]", "x/*", "*/z", "[^a]*", "a?c", "\\*", "\\[a\\]", "nothing", "a", "**", "", "[", "[a", "\\", "é", "?*?", "a#*", "#", "*\xff", "*[b\xff]", strings.Repeat("ab", 150)+"*")
	}
	b := make([]byte, 1+g.r.IntN(6))
	for i := range b {
		b[i] = "ab*?[]^-\\/"[g.r.IntN(10)]
	}
	return string(b)
}

func (g *generator) many(word string, of func() string) []string {
	words := []string{word}
	for range g.r.IntN(4) {
		words = append(words, of())
	}
	return words
}

func (g *generator) payload() string {
	return g.pick("", "hello", "with blanks", "\x00\x01\xff", "a\r\nb", "$5\r\nhello\r\n", strings.Repeat("long ", 400))
}

// command is one command, now and then a wrong one.
func (g *generator) command() (words []string) {
	switch g.r.IntN(24) {
	case 0, 1, 2, 3:
		return append(g.many("SUBSCRIBE", g.channel), g.channel())
	case 4, 5:
		return append(g.many("PSUBSCRIBE", g.pattern), g.pattern())
	case 6, 7:
		return g.many("UNSUBSCRIBE", g.channel)
	case 8, 9:
		return g.many("PUNSUBSCRIBE", g.pattern)
	case 10, 11, 12, 13, 14, 15:
		return []string{g.pick("PUBLISH", "publish"), g.channel(), g.payload()}
	case 16:
		return []string{"PUBSUB", "CHANNELS", g.pattern()}
	case 17:
		return []string{"PUBSUB", g.pick("NUMSUB", "NUMPAT", "CHANNELS", "nosuch")}
	case 18:
		return append([]string{"PUBSUB"}, g.many("NUMSUB", g.channel)...)
	case 19:
		return g.many("PING", g.payload)
	case 20:
		return []string{"ECHO", g.payload()}
	case 21:
		return []string{"HELLO", g.pick("2", "3", "3", "3", "4")}
	case 22:
		return []string{g.pick("CLIENT", "client"), g.pick("GETNAME", "SETNAME"), g.pick("me", "you", "")}[:2+g.r.IntN(2)]
	default:
		return []string{g.pick("RESET", "SUBSCRIBE", "PUBLISH", "HELLO", "SELECT", "PSUBSCRIBE")}
	}
}

// lines is one thing that one connection does.
func (g *generator) lines() []string {
	i := g.r.IntN(len(g.conns))
	conn := g.conns[i]
	switch g.r.IntN(40) {
	case 0: // the connection ends, and another one comes
		g.ended++
		g.conns[i] = string(rune('e' + g.ended%20))
		// With CLIENT REPLY OFF, Redis 7.0 keeps the connection for ever.
		return []string{conn + "> RESET", conn + "> QUIT"}
	case 1:
		return []string{conn + "> CLIENT REPLY " + g.pick("ON", "OFF")}
	case 2:
		return []string{conn + "+ CLIENT REPLY SKIP", conn + ">" + quote(g.command())}
	case 8, 9, 10: // a transaction
		lines := []string{conn + "+ MULTI"}
		for range g.r.IntN(6) {
			words := g.command()
			if strings.EqualFold(words[0], "RESET") {
				words[0] = g.pick("MULTI", "WATCH", "UNWATCH", "NOSUCH")
			}
			lines = append(lines, conn+"+"+quote(words))
		}
		return append(lines, conn+"> "+g.pick("EXEC", "EXEC", "EXEC", "exec", "DISCARD", "RESET", "EXEC x"))
	case 3, 4, 5, 6, 7: // many at once
		var b strings.Builder
		for range 2 + g.r.IntN(6) {
			b.WriteString(testdaemon.Cmd(g.command()...))
		}
		return []string{conn + "! " + fmt.Sprintf("%q", b.String())}
	default:
		return []string{conn + ">" + quote(g.command())}
	}
}

func quote(words []string) string {
	var b strings.Builder
	for _, w := range words {
		fmt.Fprintf(&b, " %q", w)
	}
	return b.String()
}
