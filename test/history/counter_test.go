package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// increment reads the counter, a number and who made it so, and replaces it by one that is higher, in three programs. It says
// before that it is about to.
const increment = `echo about >&3
read -r n rest <counter
echo "$((n + 1)) $1 $rest" >"counter.$1"
mv "counter.$1" counter
echo done >&3`

// A counter in a file is exact after many processes have counted, also if some of them are killed while they do.
func TestCounter(t *testing.T) {
	daemon := testdaemon.Start(t, testdaemon.Config{})
	ipcctl := build(t)
	const rounds, each = 25, 6
	c := newCounter(t, "IPCD_SOCKET="+daemon.Socket)
	killed := c.count(rounds, each, ipcctl, "lock", "counter", "--")
	if err := c.check(); err != nil {
		t.Error(err)
	}
	t.Logf("%d counted, %d of them were killed meanwhile", rounds*each, killed)
}

// The same without a lock goes wrong sooner or later: the test can fail.
func TestCounterWithoutLock(t *testing.T) {
	for round := range 100 {
		c := newCounter(t)
		c.count(1, 8, "env")
		if err := c.check(); err != nil {
			t.Logf("round %d: %v", round, err)
			return
		}
	}
	t.Error("nothing went wrong")
}

func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "ipcctl")
	cmd := exec.Command("go", "build", "-o", bin, "../../cmd/ipcctl")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build ipcctl: %v\n%s", err, out)
	}
	return bin
}

// A counter is the file, and what is known of those who counted.
type counter struct {
	t    *testing.T
	dir  string
	env  []string
	sure []string        // counted
	may  map[string]bool // were killed while they did
}

func newCounter(t *testing.T, env ...string) *counter {
	t.Helper()
	c := &counter{t: t, dir: t.TempDir(), env: append(os.Environ(), env...), may: map[string]bool{}}
	if err := os.WriteFile(filepath.Join(c.dir, "counter"), []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// count starts processes that increment under a command, so many at a time, and kills about every fourth as soon as it is at
// it: all of its processes, as nobody else would stop what its children do to the file.
func (c *counter) count(rounds, each int, under ...string) (killed int) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for round := range rounds {
		for i := range each {
			id := fmt.Sprintf("%d.%d", round, i)
			kill := len(under) > 1 && rand.IntN(4) == 0
			all.Go(func() {
				did := c.one(id, kill, under)
				mu.Lock()
				defer mu.Unlock()
				if did {
					c.sure = append(c.sure, id)
				} else {
					c.may[id] = true
					killed++
				}
			})
		}
		all.Wait()
	}
	return killed
}

// one increments once, and reports whether that is certain.
func (c *counter) one(id string, kill bool, under []string) bool {
	says, pipe, err := os.Pipe()
	if err != nil {
		c.t.Error(err)
		return false
	}
	defer says.Close()
	cmd := exec.Command(under[0], append(under[1:len(under):len(under)], "bash", "-c", increment, "bash", id)...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = c.dir, c.env, []*os.File{pipe}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Start()
	pipe.Close()
	if err != nil {
		c.t.Error(err)
		return false
	}
	said := make([]byte, len("about\n"))
	if n, _ := says.Read(said); kill && n > 0 {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // it may have ended
	}
	err = cmd.Wait()
	if err == nil {
		return true
	}
	if !kill {
		c.t.Errorf("%s: %v\n%s", id, err, stderr.String())
	}
	return false
}

// check compares the file with what is known.
func (c *counter) check() error {
	b, err := os.ReadFile(filepath.Join(c.dir, "counter"))
	if err != nil {
		return err
	}
	fields := strings.Fields(string(b))
	if len(fields) == 0 {
		return fmt.Errorf("the file is empty")
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		return err
	}
	counted := map[string]int{}
	for _, id := range fields[1:] {
		counted[id]++
	}
	sure := 0
	for _, id := range c.sure {
		if counted[id] != 1 {
			return fmt.Errorf("%s counted once, and the file says %d times", id, counted[id])
		}
		sure++
	}
	maybe := 0
	for id := range c.may {
		maybe += counted[id]
	}
	if n != sure+maybe || n != len(fields)-1 {
		return fmt.Errorf("the counter is %d, and %d counted, %d of them killed", n, sure+maybe, maybe)
	}
	return nil
}
