package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/testenv"
)

// A client is a program that uses a library as its users do. It ends with a line when all is as it should be.
type client struct {
	name    string
	command func(t *testing.T) []string // takes the socket, and other arguments behind it
	args    []string                    // behind the socket
}

const allIsWell = "all is as it should be\n"

// interpreted is a script of an interpreter, which needs a file of a package.
func interpreted(interpreter, script, needs string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		testenv.Need(t, interpreter, needs)
		return []string{interpreter, filepath.Join("testdata/clients", script)}
	}
}

func node(script string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		t.Setenv("NODE_PATH", testenv.Modules(t))
		return []string{"node", filepath.Join("testdata/clients", script)}
	}
}

// compiled is a program in C that is linked with hiredis.
func compiled(t *testing.T) []string {
	testenv.Need(t, "gcc", "/usr/include/hiredis/async.h")
	program := filepath.Join(t.TempDir(), "hiredis")
	run(t, "", "gcc", "-Wall", "-Wextra", "-Werror", "-o", program, "testdata/clients/hiredis.c", "-lhiredis")
	return []string{program}
}

var clients = []client{
	{"redis-py", interpreted("/usr/bin/python3", "redis_py.py", "/usr/lib/python3/dist-packages/redis"), nil},
	{"redis-rb", interpreted("ruby", "redis-rb.rb", "/usr/share/doc/ruby-redis"), nil},
	{"phpredis", interpreted("php", "phpredis.php", "/usr/share/doc/php-redis"), nil},
	{"hiredis", compiled, nil},
	{"ioredis 6, RESP2", node("ioredis.js"), []string{"2"}},
	{"ioredis 6, RESP3", node("ioredis.js"), []string{"3"}},
	{"node-redis 4", node("node-redis.js"), []string{"2", "redis4"}},
	{"node-redis 5, RESP2", node("node-redis.js"), []string{"2", "redis5"}},
	{"node-redis 5, RESP3", node("node-redis.js"), []string{"3", "redis5"}},
	{"node-redis 6, RESP2", node("node-redis.js"), []string{"2", "redis"}},
	{"node-redis 6, RESP3", node("node-redis.js"), []string{"3", "redis"}},
}

// Clients publish, subscribe to channels of any bytes and to globs, against Redis and ipcd alike; and against ipcd to filters, by their
// own psubscribe.
func TestClients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			command := c.command(t)
			for server, socket := range map[string]string{"redis": startRedis(t), "ipcd": startIpcd(t)} {
				args := append([]string{socket}, c.args...)
				if server == "ipcd" {
					args = append(args, "filters")
				}
				if got := play(t, append(command, args...)...); got != allIsWell {
					t.Errorf("with %s: %s", server, got)
				}
			}
		})
	}
}

// Two servers of socket.io that are joined by its Redis adapter reach each other's clients, and get their answers.
func TestSocketIO(t *testing.T) {
	for _, library := range []string{"ioredis", "redis", "redis4"} {
		t.Run(library, func(t *testing.T) {
			if got := play(t, append(node("socket.io.js")(t), startIpcd(t), library)...); got != allIsWell {
				t.Error(got)
			}
		})
	}
}

// play runs a program, for as long as it may take on a machine that is busy, and returns what it says.
func play(t *testing.T, command ...string) string {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	said, err := os.CreateTemp(t.TempDir(), "said")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = said.Close() }()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(6*patience, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if !limit.Stop() {
		t.Errorf("%s does not end", strings.Join(command, " "))
	}
	text, readErr := os.ReadFile(said.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err != nil {
		return string(text) + err.Error()
	}
	return string(text)
}
