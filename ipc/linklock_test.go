package ipc_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ipcd/ipcd/ipc"
)

// TestLinkReleasedOnce: a lock that is not held any more, when its release is repeated, was released by the daemon that did not get to say
// so, even if others have held it since; unless the daemon knows better.
func TestLinkReleasedOnce(t *testing.T) {
	for _, test := range []struct {
		name, info string
		stale      bool
	}{
		{"released", "%1\r\n+previous\r\n%2\r\n+token\r\n:7\r\n+how\r\n+released\r\n", false},
		{"another", "%1\r\n+previous\r\n%2\r\n+token\r\n:9\r\n+how\r\n+broken\r\n", false},
		{"forgotten", "%1\r\n+previous\r\n_\r\n", false},
		{"broken", "%1\r\n+previous\r\n%2\r\n+token\r\n:7\r\n+how\r\n+broken\r\n", true},
		{"unknown", "-DENIED this is not for you\r\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, k, s := linked(t)
			got := start(func() (*ipc.Lock, error) { return k.Lock(t.Context(), "a") })
			s.next()
			s.say(":1\r\n" + done("1", grant7))
			l := got.ok(t)
			unlocked := start(func() (error, error) { return l.Unlock(t.Context()), nil })
			s.next()
			s = f.again(s)
			s.next()
			s.say("-STALE 7 is not the token of a present hold\r\n")
			s.next()
			s.say(test.info)
			if err := unlocked.ok(t); errors.Is(err, ipc.ErrStale) != test.stale || !test.stale && err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLinkReleaseAskedAgain: if the daemon that was to say how a hold has ended dies, too, the next one is asked to release it.
func TestLinkReleaseAskedAgain(t *testing.T) {
	f, k, s := linked(t)
	got := start(func() (*ipc.Lock, error) { return k.Lock(t.Context(), "a") })
	s.next()
	s.say(":1\r\n" + done("1", grant7))
	l := got.ok(t)
	unlocked := start(func() (struct{}, error) { return struct{}{}, l.Unlock(t.Context()) })
	released := s.next()
	s = f.again(s)
	s.expect(released...)
	s.say("-STALE 7 is not the token of a present hold\r\n")
	s.expect("LOCK.INFO", "a")
	s = f.again(s)
	s.expect(released...)
	s.say("-STALE 7 is not the token of a present hold\r\n")
	s.expect("LOCK.INFO", "a")
	s.say("%1\r\n+previous\r\n%2\r\n+token\r\n:7\r\n+how\r\n+released\r\n")
	unlocked.ok(t)
}

// TestLinkLockGivenUpOnce: a lock that was granted when its caller had just given up is given back once, also if that has to be repeated by
// the next connection: another owner in this process may hold it by the same token.
func TestLinkLockGivenUpOnce(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		f, k, s := linked(t)
		ctx, cancel := context.WithCancel(t.Context())
		got := start(func() (*ipc.Lock, error) { return k.Lock(ctx, "a", ipc.Join(7)) })
		s.next()
		s.say(":3\r\n")
		synchronise(t, presentClient(t, k), s)
		cancel()
		s.expect("LOCK.CANCEL", "3")
		s.say(done("3", grant7) + ":0\r\n")
		got.fails(t, context.Canceled)
		released := s.next()
		if len(released) != 5 || released[0] != "LOCK.RELEASE" || released[3] != "REQID" {
			t.Fatalf("sent %q", released)
		}
		if breaks {
			s = f.again(s)
			s.expect(released...)
		}
		s.say("+OK\r\n")
		synchronise(t, presentClient(t, k), s)
		k.Close()
		if more := s.next(); more != nil {
			t.Errorf("sent %q after %q", more, released)
		}
	}
}
