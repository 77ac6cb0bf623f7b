package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/ipc/wire"
)

// follow has a connection follow a hold, and returns the reply.
func (c *client) follow(name, token string) wire.Value {
	c.t.Helper()
	v := c.do("LOCK.FOLLOW", name, token)
	if v.Get("name").Str != name || v.Get("token").Text() != token {
		c.t.Errorf("got %+v", v)
	}
	return v
}

// lost checks that a connection is told now of how a hold has ended.
func (c *client) lost(name, token, how string) {
	c.t.Helper()
	v := c.value()
	if v.Kind != wire.KindPush || len(v.Elems) != 5 || v.Elems[0].Str != "lock.lost" || v.Elems[1].Str != name || v.Elems[2].Text() != token ||
		v.Elems[3].Str != how {
		c.t.Errorf("got %+v, want the end of %s: %s", v, name, how)
	}
}

// following checks how many connections follow holds.
func (h *harness) following(want int) {
	h.t.Helper()
	n, charged := 0, 0
	h.on(func() {
		n = h.figures().Following
		charged = h.set.Users.Total(account.Subscriptions)
	})
	if n != want || charged != want {
		h.t.Errorf("%d follow, and %d are charged, want %d", n, charged, want)
	}
}

// TestFollow: who follows a hold is told of its end, whatever that is, and once.
func TestFollow(t *testing.T) {
	h := start(t)
	holder, c, other := h.dial3(), h.dial3(), h.dial3()
	for _, test := range []struct {
		how string
		end func(token string)
	}{
		{"released", func(token string) { holder.do("LOCK.RELEASE", "a", token) }},
		{"broken", func(token string) {
			other.do("LOCK.BREAK", "a", "WHY", "now")
			holder.lost("a", token, "broken")
		}},
		{"expired", func(token string) {
			h.pass(45 * time.Second)
			for _, told := range []*client{holder, c} {
				if v := told.value(); v.Elems[0].Str != "lock.expiring" || v.Elems[2].Text() != token {
					t.Errorf("got %+v", v)
				}
			}
			h.pass(15 * time.Second)
			holder.lost("a", token, "expired")
		}},
	} {
		g := holder.acquire("a", "LEASE", "60000")
		if v := c.follow("a", g.token); v.Get("mode").Str != "exclusive" || v.Get("bound").Str != "lease" || v.Get("left").Int <= 0 || v.Get("left").Int > 60e6 {
			t.Errorf("got %+v", v)
		}
		c.follow("a", g.token) // no more than once
		h.following(1)
		test.end(g.token)
		c.lost("a", g.token, test.how)
		h.following(0)
		c.quiet()
	}
	holder.quiet()
}

// TestFollowMember: a hold ends when its last owner leaves it, and not before; who acquired it is told as ever, and once.
func TestFollowMember(t *testing.T) {
	h := start(t)
	holder, c := h.dial3(), h.dial3()
	g := holder.acquire("a", "SHARED", "LIMIT", "3")
	if v := holder.follow("a", g.token); v.Get("mode").Str != "shared" || v.Get("bound").Str != "connection" || v.Get("left").Int != -1 {
		t.Errorf("got %+v", v)
	}
	c.acquire("a", "OWNER", "two", "JOIN", g.token)
	c.follow("a", g.token)
	holder.close()
	h.until("one has left", func() bool { return h.figures().Held == 1 })
	h.following(1)
	h.dial().do("LOCK.BREAK", "a")
	c.lost("a", g.token, "broken")
	c.quiet()

	again := c.acquire("a").token
	c.follow("a", again)
	c.do("LOCK.RELEASE", "a")
	c.lost("a", again, "released") // by whom, is not looked at
}

// TestFollowEnds: a connection follows as long as it lasts, or is made as new.
func TestFollowEnds(t *testing.T) {
	h := start(t, func(_ *Setup, o *Options) { o.Limits.SubscriptionsPerUser = 3 })
	holder, c, gone := h.dial3(), h.dial3(), h.dial3()
	var tokens []string
	for i := range 3 {
		tokens = append(tokens, holder.acquire(fmt.Sprint(i)).token)
		c.follow(fmt.Sprint(i), tokens[i])
	}
	gone.refused(wire.CodeQuota, "3 subscriptions already", "LOCK.FOLLOW", "0", tokens[0])
	holder.do("LOCK.RELEASE", "2", tokens[2])
	c.lost("2", tokens[2], "released")
	gone.follow("0", tokens[0])
	gone.close()
	h.until("it has gone", func() bool { return h.set.Net.Len() == 2 })
	h.following(2)
	c.do("RESET")
	h.following(0)
	c.refused(wire.CodeErr, "HELLO 3", "LOCK.FOLLOW", "0", tokens[0])
	c.do("HELLO", "3")
	c.refused(wire.CodeStale, "is held by", "LOCK.FOLLOW", "0", "1")
	c.refused(wire.CodeNoLock, "", "LOCK.FOLLOW", "2", tokens[2])
	c.refused(wire.CodeErr, "a token is", "LOCK.FOLLOW", "0", "x")
	c.refused(wire.CodeBadName, "", "LOCK.FOLLOW", "a\nb", "1")
	holder.do("LOCK.RELEASE", "0")
	c.quiet()
}

// TestFollowRestored: a hold that outlived the daemon can be followed by a connection to the next one.
func TestFollowRestored(t *testing.T) {
	h := start(t)
	token := h.dial3().acquire("a", "FOR", "self").token
	h = restart(h)
	c := h.dial3()
	if v := c.follow("a", token); v.Get("bound").Str != "process" {
		t.Errorf("got %+v", v)
	}
	h.dial().do("LOCK.BREAK", "a")
	c.lost("a", token, "broken")
}
