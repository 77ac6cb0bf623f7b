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

// An operator who was told of an abandoned hold, and one who enters his hold for as long as a connection lasts.
func TestJoinOfOneWhoWasTold(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{})
	first, second := d.Dial(t), d.Dial(t)
	first.Do("LOCK.ACQUIRE", "b")
	_ = first.Close()
	token := tokenOf(t, second.Do("LOCK.ACQUIRE", "b", "FOR", "nobody"))
	tokenOf(t, second.Do("LOCK.ACQUIRE", "b", "JOIN", token))
}
