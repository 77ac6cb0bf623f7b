package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A lineTool is a pair of programs that come with a kind of server: one publishes the lines of its input, the other prints what comes.
type lineTool struct {
	kind, program    string // without its path
	publish, receive func(program, socket string) []string
	encode           func(line string) []byte // as the first takes it
}

const linesTopic = "bench/lines"

func plainLine(line string) []byte { return []byte(line + "\n") }

// lineTools are those of the servers that have them. In place of the CLI's name ours has a path.
func (b *bench) lineTools() []lineTool {
	return []lineTool{
		{ipcdServer, b.ipcctl,
			func(program, socket string) []string {
				return []string{program, "--socket=" + socket, "pub", "--lines", linesTopic}
			},
			func(program, socket string) []string {
				return []string{program, "--socket=" + socket, "sub", "--format=%p", linesTopic}
			}, plainLine},
		{redisServer, "redis-cli",
			func(program, socket string) []string { return []string{program, "-s", socket, "--pipe"} },
			func(program, socket string) []string {
				return []string{program, "-s", socket, "SUBSCRIBE", linesTopic}
			},
			func(line string) []byte { return command("PUBLISH", linesTopic, line) }},
		{mosquittoServer, "mosquitto_pub",
			func(program, socket string) []string {
				return []string{program, "--unix", socket, "-t", linesTopic, "-l"}
			},
			func(program, socket string) []string {
				return []string{strings.TrimSuffix(program, "pub") + "sub", "--unix", socket, "-t", linesTopic}
			}, plainLine},
	}
}

// byPrograms are the contenders whose programs are there.
func (b *bench) byPrograms(lines int) []contender {
	var all []contender
	for _, t := range b.lineTools() {
		program, err := exec.LookPath(t.program)
		if err != nil || t.kind != ipcdServer && !b.has(t.kind) {
			fmt.Fprintf(os.Stderr, "bench: no lines by the programs of %s: %s is not installed\n", t.kind, t.program)
			continue
		}
		t.program = program
		all = append(all, b.lines(t, lines))
	}
	return all
}

// lines publishes so many from a file. The value is how many the other program has printed in a second, from the start of the first to
// the last line; the CPU time is that of both and of the server.
func (b *bench) lines(t lineTool, lines int) contender {
	return contender{name: filepath.Base(t.program), open: func(p place) (*subject, error) {
		s, err := b.startServer(t.kind, p)
		if err != nil {
			return nil, err
		}
		r, err := startReceiver(t, s)
		if err != nil {
			s.stop()
			return nil, err
		}
		file := filepath.Join(filepath.Dir(s.path), "lines")
		must(os.WriteFile(file, bytes.Repeat(t.encode(payload(64)), lines), 0o600))
		return &subject{
			close: func() {
				r.end()
				s.stop()
			},
			cell: func(time.Duration) sample {
				begun := s.used() + r.used()
				start := time.Now()
				cpu := t.run(s.path, file)
				n := r.until(s.path)
				return sample{value: float64(n) / time.Since(start).Seconds(), ops: n, cpu: cpu + s.used() + r.used() - begun}
			},
		}, nil
	}}
}

// run publishes the lines of a file, and returns the CPU time that the program took.
func (t *lineTool) run(socket, file string) time.Duration {
	in, err := os.Open(file)
	must(err)
	defer func() { _ = in.Close() }()
	argv := t.publish(t.program, socket)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	must(cmd.Run())
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// A receiver is the program that prints what comes.
type receiver struct {
	tool  lineTool
	cmd   *exec.Cmd
	marks int
	dir   string
	seen  chan mark
}

// A mark is a line that tells how far a receiver is.
type mark struct {
	text  string
	lines int // others before it
}

// startReceiver starts one, and waits until something comes.
func startReceiver(t lineTool, s *server) (*receiver, error) {
	argv := t.receive(t.program, s.path)
	r := &receiver{tool: t, cmd: exec.Command(argv[0], argv[1:]...), dir: filepath.Dir(s.path), seen: make(chan mark, 100)}
	// Its standard error is nobody's: ipcctl tells there of what it was too slow for, which is counted here.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	go r.read(out)
	r.until(s.path)
	return r, nil
}

// read counts lines up to each mark.
func (r *receiver) read(out io.Reader) {
	defer close(r.seen)
	in := bufio.NewReaderSize(out, 64<<10)
	for n := 0; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case bytes.HasPrefix(line, []byte("xxxx")):
			n++
		case bytes.HasPrefix(line, []byte("mark ")):
			r.seen <- mark{strings.TrimSpace(string(line)), n}
			n = 0
		}
	}
}

// until publishes a mark until it comes, as the server may drop it, and returns how many lines came before.
func (r *receiver) until(socket string) (lines int) {
	r.marks++
	text := fmt.Sprint("mark ", r.marks)
	file := filepath.Join(r.dir, "mark")
	must(os.WriteFile(file, r.tool.encode(text), 0o600))
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		r.tool.run(socket, file)
		for again := false; !again; {
			select {
			case m, ok := <-r.seen:
				if !ok {
					fail("%s has ended", r.cmd.Path)
				}
				lines += m.lines
				if m.text == text {
					return lines
				}
			case <-time.After(100 * time.Millisecond):
				again = true
			}
		}
	}
	fail("%s prints nothing", r.cmd.Path)
	return 0
}

func (r *receiver) used() time.Duration {
	t, err := cpuTime(r.cmd.Process.Pid)
	must(err)
	return t
}

func (r *receiver) end() {
	_ = r.cmd.Process.Kill()
	for range r.seen {
	}
	_ = r.cmd.Wait()
}
