package commands

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/test/testdaemon"
)

var (
	count    = flag.Int("commands", 10_000, "so many commands are sent in TestEveryCommand, and some more in TestOracle")
	seedFlag = flag.Uint64("seed", 0, "of what is random; 0: another one each time")
)

func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
}

// role makes this program a client of a daemon: its seed, and how many commands it sends.
const role = "IPCD_COMMANDS_ROLE"

func TestMain(m *testing.M) {
	if what := os.Getenv(role); what != "" {
		var seed uint64
		var n int
		if _, err := fmt.Sscan(what, &seed, &n); err != nil {
			panic(err)
		}
		newClient(seed).run(n)
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// patience bounds every wait. It is there to fail a test that hangs, not to measure.
const patience = time.Minute

// A report is what a client tells of a burst of commands, as a line of JSON.
type report struct {
	Sent   int
	Done   map[string]int // rows that were executed
	Wrong  []string       // what must not be
	Spoken string         // what it said last, for who looks for the reason
}

// Every row is executed, and all that is said to the daemon is answered as documented.
func TestEveryCommand(t *testing.T) {
	const processes, each = 3, 1000
	d := testdaemon.Start(t, testdaemon.Config{TOML: `
[limits]
connections = 2000
input = "64KiB"
locks_per_user = 5000
`})
	s := seed()
	t.Logf("seed %d", s)
	rng := rand.New(rand.NewPCG(s, 1))
	begun := time.Now()
	reports := make(chan report)
	var all sync.WaitGroup
	var mu sync.Mutex
	sent, killed, wrong := 0, 0, 0
	done := map[string]int{}
	more := func() bool { mu.Lock(); defer mu.Unlock(); return sent < *count && wrong == 0 }
	next := func() (uint64, bool) { mu.Lock(); defer mu.Unlock(); return rng.Uint64(), rng.IntN(3) == 0 }
	for range processes {
		all.Go(func() {
			for more() {
				seed, kill := next()
				child(t, d.Socket, seed, each, kill, reports)
			}
		})
	}
	go func() { all.Wait(); close(reports) }()
	observer := d.Dial(t)
	for r := range reports {
		mu.Lock()
		sent += r.Sent
		if r.Sent == 0 {
			killed++
		}
		for name, n := range r.Done {
			done[name] += n
		}
		wrong += len(r.Wrong)
		for _, text := range r.Wrong {
			t.Errorf("%s\nafter %s", text, r.Spoken)
		}
		mu.Unlock()
		if r.Sent%20 == 0 { // what holds without an end would have the others wait for ever
			free(t, observer)
		}
	}
	for i := range wire.Commands {
		if c := &wire.Commands[i]; done[c.Name] == 0 && !strings.HasPrefix(c.Reply, "always an error") {
			t.Errorf("%s was never executed", c.Name)
		}
	}
	t.Logf("%d commands, %.0f in a second; %d clients were killed", sent, float64(sent)/time.Since(begun).Seconds(), killed)
}

var lockName = regexp.MustCompile(`\$4\r\nname\r\n\$\d+\r\n([^\r]*)\r\n\$4\r\nmode`)

// free breaks all locks, by a connection that nobody else ends for long.
func free(t *testing.T, p *testdaemon.Peer) {
	t.Helper()
	c, err := net.DialUnix("unix", nil, p.RemoteAddr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q := testdaemon.NewPeer(t, c)
	list, err := q.Ask("LOCK.LIST")
	for _, name := range lockName.FindAllStringSubmatch(list, -1) {
		if err == nil {
			_, err = q.Ask("LOCK.BREAK", name[1])
		}
	}
	_ = err // a client may have ended this connection: the next time, then
}

// child runs a client, and may kill it somewhere.
func child(t *testing.T, socket string, seed uint64, n int, kill bool, reports chan<- report) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", role, seed, n), "IPCD_SOCKET="+socket, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	until := seed % 100
	lines := bufio.NewReader(out)
	for i := uint64(0); ; i++ {
		if kill && i == until {
			_ = cmd.Process.Kill()
		}
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var r report
		if err := json.Unmarshal(line, &r); err != nil {
			t.Errorf("a client says %q: %v", line, err)
		}
		reports <- r
	}
	if err := cmd.Wait(); err != nil {
		if !kill {
			t.Errorf("a client: %v (seed %d)", err, seed)
		}
		reports <- report{}
	}
}

// A client sends commands on connections that it makes.
type client struct {
	*maker
	socket string
	pidfd  int
	null   int
	done   map[int]bool // rows
}

func newClient(seed uint64) *client {
	c := &client{maker: newMaker(rand.New(rand.NewPCG(seed, 2))), socket: os.Getenv("IPCD_SOCKET"), done: map[int]bool{}}
	var err error
	if c.pidfd, err = unix.PidfdOpen(os.Getpid(), 0); err != nil {
		panic(err)
	}
	if c.null, err = unix.Open("/dev/null", unix.O_RDWR, 0); err != nil {
		panic(err)
	}
	return c
}

func (c *client) run(n int) {
	for sent := 0; sent < n; {
		r := c.connection()
		sent += r.Sent
		line, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
			return
		}
	}
}

// connection makes one, sends a burst of commands, and reads all that is answered. After each command comes a PING with a mark of
// its own: what comes between two marks is what the command was answered with.
func (c *client) connection() report {
	r := report{Done: map[string]int{}}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: c.socket, Net: "unix"})
	if err != nil {
		r.Wrong = append(r.Wrong, err.Error())
		return r
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var input strings.Builder
	if c.rng.IntN(2) == 0 {
		input.WriteString("HELLO 3\r\n")
	}
	rows := make([]int, 1+c.rng.IntN(40))
	var said []string
	blocks := false
	for i := range rows {
		rows[i] = c.row()
		text := ""
		for _, words := range c.around(rows[i], &blocks) {
			input.WriteString(testdaemon.Cmd(words...))
			text += fmt.Sprintf("%q", words)
		}
		if wire.Commands[rows[i]].Name == "CLIENT REPLY" {
			input.WriteString("PING\r\nCLIENT REPLY ON\r\n") // the first may have no reply, and a mark must have one
		}
		fmt.Fprintf(&input, "PING mark-%d.\r\n", i)
		said = append(said, text[:min(len(text), 300)])
	}
	r.Sent, r.Spoken = len(rows), strings.Join(said, "\n")
	last := fmt.Sprintf("mark-%d.", len(rows)) // the last command may have had the mark behind it left out
	input.WriteString("PING " + last + "\r\n")

	var sending sync.WaitGroup
	sending.Go(func() { c.send(conn, []byte(input.String())) })
	how := c.rng.IntN(10)
	if blocks {
		how = c.rng.IntN(2)
	}
	switch how {
	case 0: // in the midst of it
		if c.rng.IntN(2) == 0 {
			sending.Wait()
		}
		_ = conn.Close()
		sending.Wait()
		return r
	case 1: // all is answered, and what waits is cancelled
		sending.Wait()
		_ = conn.CloseWrite()
		last = ""
	}
	frames := bufio.NewReaderSize(conn, 64<<10)
	at := 0
	var answers []string
	for {
		frame, err := testdaemon.ReadFrame(frames)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || strings.HasPrefix(err.Error(), "no RESP") {
				r.Wrong = append(r.Wrong, fmt.Sprintf("%v, when %d of %d commands were answered", err, at, len(rows)))
			}
			break
		}
		_, mark, marked := strings.Cut(frame, "mark-")
		if !marked {
			answers = append(answers, frame)
			continue
		}
		var i int
		if _, err := fmt.Sscan(mark, &i); err != nil || i < at || i > len(rows) {
			answers = append(answers, frame) // it is a command's own
			continue
		}
		if i == at && i < len(rows) {
			c.judge(&r, rows[i], answers, said[i])
		}
		at, answers = i+1, nil
		if last != "" && strings.Contains(frame, last) {
			break
		}
	}
	if at < len(rows) {
		c.judge(&r, rows[at], answers, said[at])
	}
	_ = conn.Close()
	sending.Wait()
	return r
}

// around is a command of a row with what has to be around it: the mark that comes behind it must not be queued, and EXEC wants
// something to execute. blocks is set if any may wait.
func (c *client) around(row int, blocks *bool) (all [][]string) {
	add := func(row int) {
		words, b := c.command(row)
		all, *blocks = append(all, words), *blocks || b
	}
	switch wire.Commands[row].Name {
	case "MULTI":
		add(row)
		return append(all, []string{"DISCARD"})
	case "EXEC", "DISCARD":
		all = append(all, []string{"MULTI"})
		for range c.rng.IntN(5) {
			add(c.row())
		}
		add(row)
		return append(all, []string{"DISCARD"}, []string{"CLIENT", "REPLY", "ON"}) // if it was not ended, or was earlier
	}
	add(row)
	return all
}

// row picks a row: any, or one that this client has not had executed yet.
func (c *client) row() int {
	row := c.rng.IntN(len(wire.Commands))
	for range c.rng.IntN(40) {
		if !c.done[row] {
			break
		}
		row = c.rng.IntN(len(wire.Commands))
	}
	return row
}

// send writes in pieces, with descriptors beside some of them.
func (c *client) send(conn *net.UnixConn, b []byte) {
	rng := rand.New(rand.NewPCG(uint64(len(b)), 3))
	for len(b) > 0 {
		n := len(b)
		if rng.IntN(3) == 0 {
			n = 1 + rng.IntN(n)
		}
		var oob []byte
		if rng.IntN(2) == 0 {
			fds := []int{c.pidfd}
			switch rng.IntN(8) {
			case 0:
				fds = []int{c.null}
			case 1:
				fds = []int{c.pidfd, c.null, c.pidfd}
			}
			oob = unix.UnixRights(fds...)
		}
		if _, _, err := conn.WriteMsgUnix(b[:n], oob, nil); err != nil {
			return
		}
		b = b[n:]
	}
}

// A grant in RESP2 or RESP3.
var granted = regexp.MustCompile(`\$4\r\nname\r\n\$\d+\r\n([^\r]*)\r\n\$5\r\ntoken\r\n:(\d+)\r`)

var numbers = regexp.MustCompile(`:(\d+)\r`)

// judge looks at what a command was answered with, and pushes that came meanwhile.
func (c *client) judge(r *report, row int, answers []string, said string) {
	cmd := &wire.Commands[row]
	for _, answer := range answers {
		for _, number := range numbers.FindAllStringSubmatch(answer, 4) {
			c.learn(number[1])
		}
		if g := granted.FindStringSubmatch(answer); g != nil {
			c.learnGrant(grant{g[1], g[2]})
		}
		if strings.Contains(answer, "\r\n-"+string(wire.CodeInternal)+" ") {
			r.Wrong = append(r.Wrong, fmt.Sprintf("%s: %q", said, answer))
		}
		if cmd.Name == "EXEC" && answer[0] != '*' && answer[0] != '-' {
			continue // to what is around it
		}
		if answer[0] != '-' {
			r.Done[cmd.Name]++
			c.done[row] = true
			continue
		}
		code, _, _ := strings.Cut(strings.TrimSpace(answer[1:]), " ")
		known := slices.ContainsFunc(wire.Codes, func(i wire.CodeInfo) bool { return string(i.Code) == code })
		switch {
		case code == string(wire.CodeInternal), !known:
			r.Wrong = append(r.Wrong, fmt.Sprintf("%s: %q", said, answer))
		case code == string(wire.CodeErr), code == string(wire.CodeQuota), code == string(wire.CodeProto), slices.Contains(cmd.Errors, wire.Code(code)):
		default:
			if strings.HasPrefix(said, `["`+strings.ReplaceAll(cmd.Name, " ", `" "`)) { // it was not changed
				r.Wrong = append(r.Wrong, fmt.Sprintf("%s: %q, which is not documented for %s", said, answer, cmd.Name))
			}
		}
	}
}
