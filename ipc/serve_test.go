package ipc_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/ipcd/ipcd/ipc"
)

// TestServeAgain: who serves a filter again is given no request that was sent for the service before, which the daemon has not known yet to
// have ended: who asked is told that there is no answer, or another is asked.
func TestServeAgain(t *testing.T) {
	c, s := newFake(t).client()
	serve := func(ctx context.Context) *future[struct{}] {
		return start(func() (struct{}, error) {
			return struct{}{}, c.Serve(ctx, "t", func(context.Context, *ipc.Request) ([]byte, error) { return nil, nil }, ipc.Count(1))
		})
	}
	request := func(id string) string {
		return ">10\r\n$11\r\nbus.request\r\n:" + id + "\r\n$1\r\nt\r\n$1\r\nt\r\n$0\r\n\r\n:1\r\n:2\r\n:3\r\n$0\r\n\r\n:0\r\n"
	}
	var late string // what the daemon says of the services that have ended
	for i, begun := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := serve(ctx)
		s.expect("BUS.SERVE", "t", "COUNT", "1")
		if begun {
			s.say(":1\r\n")
			synchronise(t, c, s)
		} else {
			late += ":1\r\n"
		}
		cancel()
		ended.fails(t, context.Canceled)
		s.expect("BUS.UNSERVE", "t")
		late += request(strconv.Itoa(i+1)) + ":0\r\n"
	}
	served := serve(t.Context())
	s.expect("BUS.SERVE", "t", "COUNT", "1")
	s.say(late + ":1\r\n" + request("8"))
	s.expect("BUS.REPLY", "8", "")
	s.say("+OK\r\n")
	served.ok(t)
}
