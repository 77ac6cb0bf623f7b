package conformance

import (
	"testing"

	"github.com/ipcd/ipcd/internal/testenv"
)

// redis-py as Debian has it, whose pipelines are transactions.
func TestRedisPy(t *testing.T) {
	testenv.Need(t, "/usr/lib/python3/dist-packages/redis")
	if got := run(t, "", "/usr/bin/python3", "testdata/redis-py.py", startIpcd(t)); got != "done\n" {
		t.Errorf("got %q", got)
	}
}
