package server

import (
	"bytes"
	"fmt"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A section is a part of what INFO answers. kv are keys and values in turn.
type section struct {
	name string
	kv   []any
}

// commandInfoOf is INFO: what Redis's clients and those who watch servers look for is under Redis's names, with 0 where there is no such thing
// here.
func (s *Server) info(c *session.Call) {
	var b strings.Builder
	for _, section := range s.sections() {
		if !wanted(section.name, c.Args) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", section.name)
		for i := 0; i < len(section.kv); i += 2 {
			fmt.Fprintf(&b, "%s:%v\r\n", section.kv[i], section.kv[i+1])
		}
	}
	c.Out = c.Session.Proto().AppendVerbatim(c.Out, b.String())
}

// wanted reports whether INFO was asked for a section.
func wanted(section string, args [][]byte) bool {
	if len(args) == 0 {
		return true
	}
	for _, a := range args {
		for _, all := range []string{section, "all", "default", "everything"} {
			if bytes.EqualFold(a, []byte(all)) {
				return true
			}
		}
	}
	return false
}

func (s *Server) sections() []section {
	up := time.Since(s.set.Started())
	used, peak := memoryUsed()
	sent := s.messages.Stats()
	channels, patterns := s.messages.Routes()
	user, system := cpuTime()
	return []section{
		{"Server", []any{
			"redis_version", wire.RedisVersion,
			"redis_mode", "standalone",
			"server_name", "ipcd",
			"ipcd_version", s.setup.Version,
			"os", "Linux",
			"arch_bits", strconv.IntSize,
			"multiplexing_api", "epoll",
			"process_id", s.self.PID,
			"tcp_port", 0,
			"server_time_usec", s.set.RealMicro(),
			"uptime_in_seconds", int(up.Seconds()),
			"uptime_in_days", int(up.Hours() / 24),
			"executable", executable(),
			"io_threads_active", 0,
		}},
		{"Clients", []any{
			"connected_clients", s.set.Net.Len(),
			"cluster_connections", 0,
			"maxclients", s.opts.Limits.Connections,
			"blocked_clients", s.locks.Figures().Requests,
			"tracking_clients", 0,
			"clients_in_timeout_table", 0,
		}},
		{"Memory", []any{
			"used_memory", used,
			"used_memory_human", human(used),
			"used_memory_rss", used,
			"used_memory_peak", peak,
			"used_memory_peak_human", human(peak),
			"used_memory_lua", 0,
			"maxmemory", 0,
			"maxmemory_human", "0B",
			"maxmemory_policy", "noeviction",
			"mem_fragmentation_ratio", "1.00",
			"mem_clients_normal", s.set.Users.Total(account.Buffers),
			"mem_allocator", "go",
		}},
		{"Persistence", []any{
			"loading", 0,
			"rdb_changes_since_last_save", 0,
			"rdb_bgsave_in_progress", 0,
			"rdb_last_bgsave_status", "ok",
			"aof_enabled", 0,
			"aof_rewrite_in_progress", 0,
			"aof_last_bgrewrite_status", "ok",
			"aof_last_write_status", "ok",
		}},
		{"Stats", []any{
			"total_connections_received", s.stats.accepted,
			"total_commands_processed", s.stats.commands,
			"rejected_connections", s.stats.refused,
			"expired_keys", 0,
			"evicted_keys", 0,
			"keyspace_hits", 0,
			"keyspace_misses", 0,
			"pubsub_channels", channels,
			"pubsub_patterns", patterns,
			"pubsubshard_channels", 0,
			"latest_fork_usec", 0,
			"messages_published", sent.Published,
			"messages_delivered", sent.Delivered,
			"messages_dropped", sent.Dropped,
			"locks_granted", s.locks.Figures().Granted,
		}},
		{"Replication", []any{"role", "master", "connected_slaves", 0, "master_repl_offset", 0}},
		{"CPU", []any{"used_cpu_sys", fmt.Sprintf("%.6f", system.Seconds()), "used_cpu_user", fmt.Sprintf("%.6f", user.Seconds())}},
		{"Cluster", []any{"cluster_enabled", 0}},
		{"Keyspace", nil},
	}
}

// memoryUsed is how many bytes the daemon has from the kernel, and the most that it ever had in memory.
func memoryUsed() (used, peak uint64) {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	used = samples[0].Value.Uint64() - samples[1].Value.Uint64()
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // it cannot fail
	return used, max(used, uint64(usage.Maxrss)<<10)
}

// cpuTime is how much time the daemon has had.
func cpuTime() (user, system time.Duration) {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
}

// human is a number of bytes as Redis shows it.
func human(n uint64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"K", "M", "G", "T"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" {
		return strconv.FormatUint(n, 10) + "B"
	}
	return fmt.Sprintf("%.2f%s", value, unit)
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}
