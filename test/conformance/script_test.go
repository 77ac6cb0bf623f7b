package conformance

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// A step is one line of a script:
//
//	a> PING "with blanks\r\n"     connection a (made when first used) sends a command, encoded as clients do
//	a! "PING\r\n"                  it sends these bytes as they are
//	a+ CLIENT REPLY SKIP           as a>, but a itself is not asked yet what it got
//	a- "*1\r\n$4\r\nPI"            likewise as a!
//	a.                             it says that it sends no more (a half-close)
//
// After each step every connection is asked what it got because of it. Words are blank-separated; in double quotes they
// are Go strings. Lines that begin with # are for people.
type step struct {
	line string // as it stands in the script
	conn string
	send string // bytes
	half bool
	wait bool // the sender is not asked
}

func parseScript(text string) (steps []step, err error) {
	for i, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		s := step{line: line, conn: line[:1]}
		if len(line) < 2 {
			return nil, fmt.Errorf("line %d: %q", i+1, line)
		}
		words, err := splitWords(line[2:])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		switch line[1] {
		case '>', '+':
			s.send = testdaemon.Cmd(words...)
		case '!', '-':
			s.send = strings.Join(words, "")
		case '.':
			s.half = true
		default:
			return nil, fmt.Errorf("line %d: %q", i+1, line)
		}
		s.wait = line[1] == '+' || line[1] == '-'
		steps = append(steps, s)
	}
	return steps, nil
}

func splitWords(s string) (words []string, err error) {
	for {
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return words, nil
		}
		word, rest, _ := strings.Cut(s, " ")
		if s[0] == '"' {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s, err)
			}
			if word, err = strconv.Unquote(quoted); err != nil {
				return nil, err
			}
			rest = s[len(quoted):]
		}
		words = append(words, word)
		s = rest
	}
}

// A frame is something that a connection got.
type frame struct {
	conn string
	text string // the bytes, or end
}

const end = "(end)"

// A player runs steps on one server.
type player struct {
	t      *testing.T
	socket string
	conns  map[string]*testdaemon.Peer // nil: ended
	held   map[string]bool             // connections that are in the middle of something
	fence  int
}

func newPlayer(t *testing.T, socket string) *player {
	return &player{t: t, socket: socket, conns: map[string]*testdaemon.Peer{}, held: map[string]bool{}}
}

// play runs one step and returns what all connections got, the sender first.
func (p *player) play(s step) (got []frame) {
	p.t.Helper()
	conn, known := p.conns[s.conn]
	if !known {
		conn = testdaemon.Dial(p.t, p.socket)
		p.conns[s.conn] = conn
	}
	switch {
	case conn == nil:
	case s.half:
		if err := conn.CloseWrite(); err != nil {
			p.t.Fatal(err)
		}
		got = p.rest(s.conn)
	default:
		// The connection may just have been ended by the server: what it got will say so.
		_, _ = io.WriteString(conn, s.send)
		p.held[s.conn] = s.wait
		got = p.collect(s.conn)
	}
	for _, name := range p.names() {
		if name != s.conn {
			got = append(got, p.collect(name)...)
		}
	}
	return got
}

func (p *player) names() (names []string) {
	for name := range p.conns {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// collect returns what a connection has got up to now. It asks for the reply to a command that changes nothing, that is
// allowed in every state, and that even CLIENT REPLY OFF does not silence.
func (p *player) collect(name string) (got []frame) {
	conn := p.conns[name]
	if conn == nil || p.held[name] {
		return nil
	}
	p.fence++
	fence := fmt.Sprintf("fence-%d", p.fence)
	_, _ = io.WriteString(conn, testdaemon.Cmd("UNSUBSCRIBE", fence))
	for {
		text, ok := p.next(name)
		got = append(got, frame{name, text})
		if !ok {
			return got
		}
		if strings.Contains(text, "\r\n"+fence+"\r\n") {
			got[len(got)-1].text = strings.Replace(text, fence, "fence", 1) // it tells how many subscriptions there are
			return got
		}
	}
}

// rest returns what a connection gets until its end.
func (p *player) rest(name string) (got []frame) {
	for {
		text, ok := p.next(name)
		got = append(got, frame{name, text})
		if !ok {
			return got
		}
	}
}

func (p *player) next(name string) (text string, ok bool) {
	p.t.Helper()
	conn := p.conns[name]
	text, err := conn.Next()
	switch {
	case err == nil:
		return text, true
	case (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && text == "":
		// A connection that is closed before all it sent was read is reset. Whether it was is a matter of timing.
		_ = conn.Close()
		p.conns[name] = nil
		return end, false
	}
	p.t.Fatalf("%s: cannot read what connection %s got: %v, after %q", filepath.Base(p.socket), name, err, text)
	return "", false
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	redis, ipcd := startRedis(t), startIpcd(t)
	used, proven := map[*deviation]bool{}, map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			steps, err := parseScript(string(text))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			a, b := newPlayer(t, redis), newPlayer(t, ipcd)
			sent := map[string]string{}
			held := map[string][]step{} // those whose answers come with that to a later one
			for _, s := range steps {
				how := map[*deviation]bool{}
				fromRedis := a.play(s)
				if r, d, ok := compare(together(sent, s), fromRedis, b.play(s), how); !ok {
					t.Errorf("%s\n  redis: %s %q\n  ipcd:  %s %q", s.line, r.conn, r.text, d.conn, d.text)
				}
				maps.Copy(used, how)
				held[s.conn] = append(held[s.conn], s)
				if !s.wait {
					prove(held[s.conn], fromRedis, how, proven)
					held[s.conn] = nil
				}
			}
		})
	}
	if t.Failed() {
		return
	}
	for i := range wire.Commands {
		if c := &wire.Commands[i]; c.Family == wire.FamilyRedis && c.Note == "" && !proven[c.Name] {
			t.Errorf("%s is said to be as in Redis, and no script shows it", c.Name)
		}
	}
	for i := range deviations {
		if !used[&deviations[i]] {
			t.Errorf("no script needs the deviation %q", deviations[i].why)
		}
	}
}

// prove takes note of commands that both have executed, with the same answer.
func prove(steps []step, answers []frame, how map[*deviation]bool, proven map[string]bool) {
	for d := range how {
		if d.redis != d.ipcd {
			return
		}
	}
	refused := slices.ContainsFunc(answers, func(f frame) bool { return f.text[0] == '-' })
	for _, s := range steps {
		words, err := splitWords(s.line[2:])
		if err != nil || len(words) == 0 || s.half {
			continue
		}
		row, ok := wire.FindCommand(strings.Join(words[:min(len(words), 2)], " "))
		if !ok {
			row, ok = wire.FindCommand(words[0])
		}
		if ok && refused == strings.HasPrefix(row.Reply, "always an error") {
			proven[row.Name] = true
		}
	}
}

// together is a step with all that its connection has sent since it was last asked, of which held keeps what it was not asked after.
func together(held map[string]string, s step) step {
	s.send = held[s.conn] + s.send
	if held[s.conn] = ""; s.wait {
		held[s.conn] = s.send
	}
	return s
}

// compare returns the first frame in which ipcd got something else than Redis, if there is no deviation for it. What
// follows such a frame is out of step.
func compare(s step, redis, ipcd []frame, used map[*deviation]bool) (r, d frame, ok bool) {
	redis, ipcd = unorder(s, redis), unorder(s, ipcd)
	for i := range max(len(redis), len(ipcd)) {
		r, d = at(redis, i), at(ipcd, i)
		if r == d {
			continue
		}
		dev := findDeviation(s, r, d)
		if dev == nil {
			return r, d, false
		}
		used[dev] = true
	}
	return r, d, true
}

func at(frames []frame, i int) frame {
	if i < len(frames) {
		return frames[i]
	}
	return frame{}
}
