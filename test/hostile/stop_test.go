package hostile

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// A stop answers all who wait, and what was asked before it.
func TestStop(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	observer := d.Dial(t)
	holder := spawn(t, d)
	holder.tell("do a LOCK.ACQUIRE l")
	var waits []*testdaemon.Peer
	for i := range 20 {
		p := d.Dial(t)
		p.Send(testdaemon.Cmd("LOCK.ACQUIRE", "l", "OWNER", string(rune('a'+i))) + testdaemon.Cmd("PING", "after") +
			testdaemon.Cmd("LOCK.ACQUIRE", "l", "OWNER", "again") + testdaemon.Cmd("PING", "end"))
		eventually(t, "it waits", func() bool { return waiters(t, observer) == i+1 })
		waits = append(waits, p)
	}
	async := d.Dial(t)
	async.Do("HELLO", "3")
	ticket := strings.Trim(async.Do("LOCK.ACQUIRE", "l", "OWNER", "async", "ASYNC"), ":\r\n")
	d.Signal(syscall.SIGSTOP)
	asked := d.Dial(t)
	asked.Send(strings.Repeat("PING\r\n", 8000)) // less than what is read at once
	d.Signal(syscall.SIGTERM)
	d.Signal(syscall.SIGCONT)
	for _, p := range waits {
		if got := p.Frame(); !strings.HasPrefix(got, "-SHUTDOWN ") {
			t.Errorf("got %q", got)
		}
		p.Want("$5\r\nafter\r\n")
		if got := p.Frame(); !strings.HasPrefix(got, "-SHUTDOWN ") {
			t.Errorf("got %q", got)
		}
		p.Want("$3\r\nend\r\n")
		p.WantEnd()
	}
	if got := async.Frame(); !strings.HasPrefix(got, ">3\r\n$4\r\ndone\r\n:"+ticket+"\r\n-SHUTDOWN ") {
		t.Errorf("got %q", got)
	}
	if got := async.Frame(); !strings.Contains(got, "ipcd.goodbye") {
		t.Errorf("got %q", got)
	}
	async.WantEnd()
	for range 8000 {
		asked.Want("+PONG\r\n")
	}
	asked.WantEnd()
	if status, _ := d.Wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if _, err := os.Stat(d.Socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// Nobody can keep a daemon from stopping: not by not reading, nor by never coming to an end.
func TestStopIsBounded(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	for _, input := range []string{
		strings.Repeat("COMMAND DOCS\r\n", 2000),
		testdaemon.Cmd("ECHO", strings.Repeat("x", 900_000)),
		"*2\r\n$4\r\nECHO\r\n$900000\r\nxxx",
		"HELLO 3\r\nBUS.SUB #\r\n" + strings.Repeat("BUS.PUB a/b "+strings.Repeat("x", 1000)+"\r\n", 300),
		strings.Repeat("COMMAND DOCS\r\n", 2000) + "QUIT\r\n",
	} {
		_, _ = pour(d.Dial(t), input, mib)
	}
	end := make(chan struct{})
	for range 3 { // and some who never stop
		p := d.Dial(t)
		go func() {
			defer func() { end <- struct{}{} }()
			for {
				if _, err := pour(p, strings.Repeat("PING\r\n", 1000), 1<<40); err != nil {
					return
				}
			}
		}()
	}
	start := time.Now()
	d.Signal(syscall.SIGTERM)
	status, _ := d.Wait()
	took := time.Since(start)
	t.Logf("stopped in %v", took.Round(time.Millisecond))
	if status != 0 || took > 8*time.Second {
		t.Errorf("exit status %d after %v", status, took)
	}
	for range 3 {
		<-end
	}
}

// Nor by having sent what takes a minute to be executed.
func TestStopWithCostlyCommands(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Quick: true})
	channels, costly := costlyChannels(20_000)
	subscribe(t, d.Dial(t), "SUBSCRIBE", channels)
	for range 5 {
		_, _ = pour(d.Dial(t), strings.Repeat(costly, 350), 60<<10)
	}
	start := time.Now()
	d.Signal(syscall.SIGTERM)
	status, _ := d.Wait()
	t.Logf("stopped in %v", time.Since(start).Round(time.Millisecond))
	if took := time.Since(start); status != 0 || took > 8*time.Second {
		t.Errorf("exit status %d after %v", status, took)
	}
}

// A stop in the middle of what takes time.
func TestStopWhileReloading(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{TOML: "[log]\nlevel = \"info\"\n"})
	p := d.Dial(t)
	p.Do("PING")
	d.Signal(syscall.SIGSTOP)
	p.Send("IPCD.RELOAD\r\nPING\r\n")
	d.Signal(syscall.SIGTERM)
	d.Signal(syscall.SIGCONT)
	if status, _ := d.Wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for {
		f, err := p.Next()
		if err != nil {
			if !isEnd(err) {
				t.Error(err)
			}
			break
		}
		t.Logf("%.100q", f)
	}
}

// Two signals are no worse than one.
func TestStopTwice(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	_, _ = pour(d.Dial(t), strings.Repeat("COMMAND DOCS\r\n", 2000), mib)
	d.Signal(syscall.SIGTERM)
	d.Signal(syscall.SIGINT)
	d.Signal(syscall.SIGTERM)
	if status, _ := d.Wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// Where a daemon answers, a second one gives up, says so, and leaves the first alone. What a daemon that died has left is
// no hindrance.
func TestSecondDaemon(t *testing.T) {
	first := testdaemon.Start(t, testdaemon.Config{})
	second := testdaemon.Command(t, testdaemon.Config{})
	second.Socket = first.Socket
	if _, err := second.Launch(); err != nil {
		t.Fatal(err)
	}
	status, said := second.Wait()
	if status != 69 || !strings.Contains(said, "cannot listen on "+first.Socket+": another daemon answers there") {
		t.Errorf("exit status %d:\n%s", status, said)
	}
	if got := first.Dial(t).Do("PING"); got != "+PONG\r\n" {
		t.Errorf("the first: %q", got)
	}

	// Also while the first is too busy to answer.
	first.Signal(syscall.SIGSTOP)
	third := testdaemon.Command(t, testdaemon.Config{})
	third.Socket = first.Socket
	if _, err := third.Launch(); err != nil {
		t.Fatal(err)
	}
	if status, _ := third.Wait(); status != 69 {
		t.Errorf("exit status %d", status)
	}
	first.Signal(syscall.SIGCONT)

	first.Signal(syscall.SIGKILL)
	first.Wait()
	if _, err := os.Stat(first.Socket); err != nil {
		t.Fatal(err)
	}
	heir := testdaemon.Command(t, testdaemon.Config{})
	heir.Socket = first.Socket
	heir.Run()
	if got := heir.Dial(t).Do("PING"); got != "+PONG\r\n" {
		t.Errorf("the heir: %q", got)
	}
}

// What is no socket is not removed.
func TestNoSocket(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"file":      func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink("/etc/passwd", path) },
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			d := testdaemon.Command(t, testdaemon.Config{})
			if err := make(d.Socket); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(d.Socket)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Launch(); err != nil {
				t.Fatal(err)
			}
			status, said := d.Wait()
			if status == 0 || !strings.Contains(said, "cannot listen on "+d.Socket) {
				t.Errorf("exit status %d:\n%s", status, said)
			}
			if after, err := os.Lstat(d.Socket); err != nil || !os.SameFile(before, after) {
				t.Errorf("%v, %v", after, err)
			}
		})
	}
}

// Tokens rise over the death of a daemon, too.
func TestTokensRise(t *testing.T) {
	d := testdaemon.Command(t, testdaemon.Config{})
	d.Run()
	first := field(t, d.Dial(t).Do("LOCK.ACQUIRE", "l"), "token")
	d.Signal(syscall.SIGKILL)
	d.Wait()
	next := testdaemon.Command(t, testdaemon.Config{})
	if err := os.RemoveAll(next.Dir + "/state"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.Dir+"/state", next.Dir+"/state"); err != nil {
		t.Fatal(err)
	}
	next.Run()
	second := field(t, next.Dial(t).Do("LOCK.ACQUIRE", "l"), "token")
	if len(first) != len(second) || second <= first {
		t.Errorf("token %s after %s", second, first)
	}
}
