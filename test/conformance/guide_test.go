package conformance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// An example of the guide, by its language, is run so.
var exampleOf = map[string]func(t *testing.T, script string) []string{
	"python": func(t *testing.T, script string) []string {
		testenv.Need(t, "/usr/bin/python3", "/usr/lib/python3/dist-packages/redis")
		return []string{"/usr/bin/python3", script}
	},
	"js": func(t *testing.T, script string) []string {
		t.Setenv("NODE_PATH", testenv.Modules(t))
		return []string{"node", script}
	},
	"ruby": func(t *testing.T, script string) []string {
		testenv.Need(t, "ruby", "/usr/share/doc/ruby-redis")
		return []string{"ruby", script}
	},
	"php": func(t *testing.T, script string) []string {
		testenv.Need(t, "php", "/usr/share/doc/php-redis")
		return []string{"php", script}
	},
	"go": func(t *testing.T, script string) []string {
		program := strings.TrimSuffix(script, ".go")
		run(t, "", "go", "build", "-o", program, script)
		return []string{program}
	},
	"c": func(t *testing.T, script string) []string {
		testenv.Need(t, "gcc", "/usr/include/hiredis/hiredis.h")
		program := strings.TrimSuffix(script, ".c")
		run(t, "", "gcc", "-Wall", "-Wextra", "-Werror", "-o", program, script, "-lhiredis")
		return []string{program}
	},
	"sh": func(t *testing.T, script string) []string {
		testenv.Need(t, "redis-cli")
		return []string{"/bin/sh", script}
	},
}

// TestGuide runs the examples of the guide for each client as they stand there.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	// Those that are whole programs, and are called by what stands before them.
	found := regexp.MustCompile("(?ms)^([^\n]+):\n\n```(python|js|ruby|php|go|c|sh)\n(.*?)^```$").FindAllStringSubmatch(string(guide), -1)
	found = slices.DeleteFunc(found, func(example []string) bool { return !strings.Contains(example[3], "IPCD_SOCKET") })
	if len(found) != 8 {
		t.Fatalf("%d examples", len(found))
	}
	for _, example := range found {
		name, language, text := example[1], example[2], example[3]
		t.Run(strings.Fields(name)[0], func(t *testing.T) {
			socket := startIpcd(t)
			script := filepath.Join(t.TempDir(), "example."+language)
			if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			command := exampleOf[language](t, script)
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Dir = filepath.Dir(script)
			cmd.Env = append(os.Environ(), "IPCD_SOCKET="+socket)
			var out, said strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			limit := time.AfterFunc(6*patience, func() { _ = cmd.Process.Kill() })
			// The message is sent when the example has subscribed; it may have ended instead.
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			stop := serveSum(t, socket)
			defer stop()
			p := testdaemon.Dial(t, socket)
			for p.Do("PUBSUB", "NUMPAT") != ":1\r\n" && len(ended) == 0 {
			}
			p.Do("PUBLISH", "deploy/web", "done")
			err := <-ended
			if !limit.Stop() {
				t.Error("it does not end")
			}
			if err != nil || out.String() != "backup is mine\nthe sum is 5\ndeploy/web done\n" {
				t.Errorf("%v: %s%s", err, out.String(), said.String())
			}
		})
	}
}

// serveSum answers what the examples ask for, until it is stopped.
func serveSum(t *testing.T, socket string) (stop func()) {
	c, err := ipc.Dial(context.Background(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Serve(ctx, "sum", func(_ context.Context, r *ipc.Request) ([]byte, error) {
			if string(r.Payload) != "2 3" {
				return nil, errors.New("what is asked is " + string(r.Payload))
			}
			return []byte("5"), nil
		})
	}()
	return func() {
		cancel()
		<-ended
		_ = c.Close()
	}
}
