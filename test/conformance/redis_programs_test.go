package conformance

import (
	"bufio"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/test/testdaemon"
)

// run runs a program to its end.
func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	testenv.Need(t, name)
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestRedisCLI(t *testing.T) {
	socket := startIpcd(t)
	for _, c := range []struct {
		args []string
		want string // a regular expression for all of the output
	}{
		{[]string{"PING"}, `PONG\n`},
		{[]string{"-3", "PING"}, `PONG\n`},
		{[]string{"-3", "HELLO"}, `(?s)server ipcd\n.*proto 3\n.*`},
		{[]string{"PUBLISH", "a/b", "hello"}, `0\n`},
		{[]string{"lock.acquire", "backup", "wait", "0", "why", "by hand"}, `(?s)name\nbackup\ntoken\n\d{16}\nmode\nexclusive\n.*`},
		{[]string{"--json", "-3", "lock.info", "backup"}, `(?s)\{"name":"backup",.*"previous":\{"token":\d+,"how":"(exited 0|unknown|disconnected)".*\},"abandoned":(null|\{.*\})\}\n`},
		{[]string{"lock.release", "backup"}, `NOLOCK .*\n+`},
		{[]string{"nosuch"}, `ERR unknown command 'nosuch'.*\n+`},
		{[]string{"PUBLISH", "a/#", "x"}, `0\n`},
		{[]string{"BUS.PUB", "a/#", "x"}, `BADNAME .*\n+`},
		{[]string{"-r", "3", "-i", "0", "PING"}, `PONG\nPONG\nPONG\n`},
		{[]string{"--raw", "ECHO", "a\nb"}, `a\nb\n`},
		{[]string{"-n", "0", "PING"}, `PONG\n`},
		{[]string{"INFO", "server"}, `(?s)# Server\r\n.*server_name:ipcd\r\n.*`},
		{[]string{"-3", "COMMAND", "DOCS", "lock.acquire"}, `(?s)lock.acquire summary Wait for a lock, or for several at once, and take it\n.*`},
		{[]string{"CLIENT", "LIST"}, `id=\d+ .* cmd=client\|list .*\n+`},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			got := run(t, "", "redis-cli", append([]string{"-s", socket}, c.args...)...)
			if !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("got %q, want %s", got, c.want)
			}
		})
	}
	t.Run("commands on standard input", func(t *testing.T) {
		got := run(t, "PING\nLOCK.ACQUIRE a\nLOCK.RELEASE a\nECHO \"x y\"\n", "redis-cli", "-s", socket)
		if lines := strings.Split(got, "\n"); lines[0] != "PONG" || !strings.Contains(got, "\nOK\nx y\n") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("--pipe", func(t *testing.T) {
		got := run(t, strings.Repeat(testdaemon.Cmd("PUBLISH", "a", "b"), 1000), "redis-cli", "-s", socket, "--pipe")
		if !strings.Contains(got, "errors: 0, replies: 1000\n") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("-x", func(t *testing.T) {
		if got := run(t, "from stdin", "redis-cli", "-s", socket, "-x", "ECHO"); got != "from stdin\n" {
			t.Errorf("got %q", got)
		}
	})
}

// Subscribed by redis-cli, which prints what comes until it is ended.
func TestRedisCLISubscribes(t *testing.T) {
	testenv.Need(t, "redis-cli")
	socket := startIpcd(t)
	p := testdaemon.Dial(t, socket)
	for _, c := range []struct {
		args  []string
		greet int // lines before the first message
		want  []string
	}{
		{[]string{"SUBSCRIBE", "a/b"}, 3, []string{"message", "a/b", "hello"}},
		{[]string{"-3", "SUBSCRIBE", "a/b"}, 3, []string{"message", "a/b", "hello"}},
		{[]string{"PSUBSCRIBE", "a*"}, 3, []string{"pmessage", "a*", "a/b", "hello"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			cmd := exec.Command("redis-cli", append([]string{"-s", socket}, c.args...)...)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}()
			out := bufio.NewReader(stdout)
			for range c.greet {
				if _, err := out.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			p.Send(testdaemon.Cmd("PUBLISH", "a/b", "hello"))
			p.Want(":1\r\n")
			for _, want := range c.want {
				if got, err := out.ReadString('\n'); err != nil || got != want+"\n" {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
			}
		})
	}
}

// redis-benchmark begins with CONFIG GET and counts every reply.
func TestRedisBenchmark(t *testing.T) {
	socket := startIpcd(t)
	for _, args := range [][]string{
		{"-t", "ping"},
		{"-t", "ping", "-P", "16"},
		{"-t", "ping", "-c", "200", "-3"},
		{"--threads", "2", "-t", "ping"},
		{"-P", "8", "-r", "100", "PUBLISH", "bench/__rand_int__", "hello"},
		{"-c", "1", "LOCK.INFO", "l"},
		{"-c", "10", "BUS.PUB", "a/b", "hello"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			got := run(t, "", "redis-benchmark", append([]string{"-s", socket, "-n", "20000", "-q"}, args...)...)
			if !strings.Contains(got, " requests per second") || strings.Contains(strings.ToLower(got), "err") {
				t.Errorf("got %q", got)
			}
			line := got[strings.LastIndexByte(strings.TrimSpace(got), '\r')+1:]
			t.Log(strings.TrimSpace(line))
		})
	}
	if got := testdaemon.Dial(t, socket).Do("PING"); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}

// redis-cli --stat prints a line a time until it is ended.
func TestRedisCLIStat(t *testing.T) {
	testenv.Need(t, "redis-cli")
	cmd := exec.Command("redis-cli", "-s", startIpcd(t), "--stat", "-i", "0.01")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line := regexp.MustCompile(`^0 +\d+\.\d+M +1 +0 +\d+ \(\+\d+\) +1 +\n$`) // keys, memory, clients, blocked, requests, connections
	out := bufio.NewReader(stdout)
	for range 5 {
		got, err := out.ReadString('\n')
		if err != nil || got[0] >= '0' && got[0] <= '9' && !line.MatchString(got) {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// What programs read in INFO that watch servers of Redis, and in CLIENT LIST the fields that clients look up by name.
func TestMonitors(t *testing.T) {
	redis, ipcd := newGoRedis(t, startRedis(t), 3), newGoRedis(t, startIpcd(t), 3)
	ctx := patient(t)
	fields := func(c *goredis.Client) []string {
		list, err := c.ClientList(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, word := range strings.Fields(list) {
			name, _, _ := strings.Cut(word, "=")
			names = append(names, name)
		}
		return names
	}
	have := fields(ipcd)
	for _, name := range fields(redis) {
		if !slices.Contains(have, name) {
			t.Errorf("CLIENT LIST has no %s", name)
		}
	}
	info, err := ipcd.Info(ctx, "everything").Result()
	if err != nil {
		t.Fatal(err)
	}
	want, err := redis.Info(ctx, "everything").Result()
	if err != nil {
		t.Fatal(err)
	}
	// redis-cli --stat, the test of hiredis, redis_exporter's own names, and what redis-py and ioredis look at.
	for _, key := range []string{
		"redis_version", "redis_mode", "os", "process_id", "uptime_in_seconds", "tcp_port", "executable",
		"connected_clients", "blocked_clients", "maxclients", "tracking_clients",
		"used_memory", "used_memory_human", "used_memory_rss", "used_memory_peak", "used_memory_lua", "maxmemory", "maxmemory_policy", "mem_fragmentation_ratio",
		"loading", "rdb_changes_since_last_save", "rdb_bgsave_in_progress", "rdb_last_bgsave_status", "aof_enabled", "aof_rewrite_in_progress",
		"total_connections_received", "total_commands_processed", "rejected_connections", "expired_keys", "evicted_keys", "keyspace_hits", "keyspace_misses",
		"pubsub_channels", "pubsub_patterns", "latest_fork_usec", "role", "connected_slaves", "used_cpu_sys", "used_cpu_user", "cluster_enabled",
	} {
		for server, text := range map[string]string{"Redis": want, "ipcd": info} {
			if !strings.Contains(text, "\r\n"+key+":") {
				t.Errorf("INFO of %s has no %s", server, key)
			}
		}
	}
	if !strings.Contains(info, "\r\nredis_version:"+wire.RedisVersion+"\r\n") || !strings.Contains(info, "\r\nserver_name:ipcd\r\n") {
		t.Errorf("got %s", info)
	}
}
