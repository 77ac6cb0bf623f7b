package commands

import (
	"strings"
	"testing"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// What the random commands have found, by as few of them as it takes.

// tokenOf is the token of a grant.
func tokenOf(t *testing.T, reply string) string {
	t.Helper()
	g := granted.FindStringSubmatch(reply)
	if g == nil {
		t.Fatalf("got %q, want a grant", reply)
	}
	return g[2]
}

// Who joins a hold by its token, and gives it up by asking so, is told that it is not held.
func TestJoinOfWhatOneGivesUp(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	first, second := d.Dial(t), d.Dial(t)
	token := tokenOf(t, first.Do("LOCK.ACQUIRE", "a", "REQID", "1"))
	_ = first.Close()
	if got := second.Do("LOCK.ACQUIRE", "a", "JOIN", token, "WAIT", "0"); !strings.HasPrefix(got, "-NOLOCK ") && !strings.HasPrefix(got, "*") {
		t.Errorf("got %q", got)
	}
}

// Of those who share a hold, and were told of an abandoned one by it, some end with the daemon and some do not, whoever was first
// and whoever leaves first. The daemon verifies what it has kept.
func TestJoinOfOneWhoWasTold(t *testing.T) {
	for _, first := range []string{"CONNECTION", "NOBODY", "LEASE"} {
		for _, second := range []string{"CONNECTION", "LEASE"} {
			t.Run(first+", "+second, func(t *testing.T) {
				d := testdaemon.Start(t, testdaemon.Config{})
				bind := func(to string) []string {
					switch to {
					case "NOBODY":
						return []string{"FOR", "nobody"}
					case "LEASE":
						return []string{"LEASE", "3600000"}
					}
					return nil
				}
				gone, p, q := d.Dial(t), d.Dial(t), d.Dial(t)
				gone.Do("LOCK.ACQUIRE", "b", "OWNER", "gone")
				_ = gone.Close()
				token := tokenOf(t, p.Do(append([]string{"LOCK.ACQUIRE", "b"}, bind(first)...)...))
				tokenOf(t, q.Do(append([]string{"LOCK.ACQUIRE", "b", "JOIN", token}, append(bind(second), "OWNER", "second")...)...))
				_ = p.Close() // which ends only what is the connection's
				if got := q.Do("LOCK.CHECK", "b", token); got != "+OK\r\n" {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}
