package ipc_test

import (
	"context"
	"slices"
	"testing"

	"github.com/ipcd/ipcd/ipc"
)

// TestElectGivenUp: nothing is left of a lead whose caller has given up when its value was under way, however late the daemon answers, and
// if there is a link, also over the end of the connection.
func TestElectGivenUp(t *testing.T) {
	elect := map[string]func(*testing.T) (f *fake, s *session, by func(context.Context) (*ipc.Lead, error)){
		"client": func(t *testing.T) (*fake, *session, func(context.Context) (*ipc.Lead, error)) {
			f := newFake(t)
			c, s := f.client()
			return nil, s, func(ctx context.Context) (*ipc.Lead, error) { return c.Elect(ctx, "a", "me") }
		},
		"link": func(t *testing.T) (*fake, *session, func(context.Context) (*ipc.Lead, error)) {
			f, k, s := linked(t)
			return f, s, func(ctx context.Context) (*ipc.Lead, error) { return k.Elect(ctx, "a", "me") }
		},
	}
	for name, begin := range elect {
		t.Run(name, func(t *testing.T) {
			f, s, by := begin(t)
			ctx, cancel := context.WithCancel(t.Context())
			elected := start(func() (*ipc.Lead, error) { return by(ctx) })
			s.next()
			s.say(grant7)
			s.expect("BUS.WILL", "a/leader", "", "FOR", "self", "CLEAR")
			s.say("+OK\r\n")
			s.expect("BUS.PUB", "a/leader", "me", "RETAIN", "UNDER", "a", "7")
			cancel()
			elected.fails(t, context.Canceled) // only after its patience with the daemon
			s.say("%3\r\n+seq\r\n:1\r\n+delivered\r\n:0\r\n+dropped\r\n:0\r\n")
			if f != nil {
				s.next()
				s = f.again(s)
			}
			var sent []string
			for !slices.Contains(sent, "LOCK.RELEASE") {
				words := s.next()
				if words == nil {
					t.Fatalf("sent only %q", sent)
				}
				sent = append(sent, words[0])
				s.say(map[string]string{"LOCK.FOLLOW": "%0\r\n", "BUS.UNWILL": ":1\r\n", "BUS.CLEAR": ":1\r\n"}[words[0]])
				if words[0] == "LOCK.CHECK" || words[0] == "LOCK.RELEASE" {
					s.say("+OK\r\n")
				}
			}
			if !slices.Contains(sent, "BUS.UNWILL") || !slices.Contains(sent, "BUS.CLEAR") {
				t.Errorf("sent only %q", sent)
			}
		})
	}
}
