package ipc_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/testenv"
	"github.com/ipcd/ipcd/ipc"
)

// TestWillsOfProcess: what a program has announced, and its last word, outlive its clients, and not the program. Here the program is this test
// binary, run again.
func TestWillsOfProcess(t *testing.T) {
	if address := os.Getenv("IPC_TEST_WILLS"); address != "" {
		leaveWills(t, address)
		return
	}
	testenv.Kernel(t, 6, 15, "the exit status of a process that is reaped at once")
	ctx := context.Background()
	c := dialDaemon(t, "")
	sub, err := c.Subscribe(ctx, "wills/#")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWillsOfProcess$")
	cmd.Env = append(os.Environ(), "IPC_TEST_WILLS="+os.Getenv("IPCD_SOCKET"))
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 7 {
		t.Fatalf("it ended with %v: %s", cmd.ProcessState, out)
	}
	var got []string
	for range 3 {
		m, err := sub.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if m.PID != cmd.Process.Pid {
			t.Errorf("%q is from %d, not %d", m.Topic, m.PID, cmd.Process.Pid)
		}
		got = append(got, m.Topic+"="+string(m.Payload)+" "+m.Headers["x"]+m.Ended)
	}
	if all := strings.Join(got, ", "); all != "wills/here=up , wills/last=word 1exited 7, wills/here= exited 7" &&
		all != "wills/here=up , wills/here= exited 7, wills/last=word 1exited 7" {
		t.Errorf("its messages are %s", all)
	}
	if _, ok, err := c.Get(ctx, "wills/here"); ok || err != nil {
		t.Errorf("it is there still: %v, %v", ok, err)
	}
	if m, ok, err := c.Get(ctx, "wills/last"); !ok || err != nil || m.Ended != "exited 7" {
		t.Errorf("its last word is %+v, %v, %v", m, ok, err)
	}
	if _, err := c.Clear(ctx, "wills/last"); err != nil { // this test may be run again
		t.Error(err)
	}
}

func leaveWills(t *testing.T, address string) {
	ctx := context.Background()
	c, err := ipc.Dial(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Announce(ctx, "wills/here", []byte("up")); err != nil {
		t.Fatal(err)
	}
	if err := c.Will(ctx, "wills/last", []byte("word"), ipc.Retain(), ipc.Header("x", "1")); err != nil {
		t.Fatal(err)
	}
	if err := c.Will(ctx, "wills/none", nil); err != nil {
		t.Fatal(err)
	}
	if had, err := c.Unwill(ctx, "wills/none"); !had || err != nil {
		t.Fatalf("it was not there: %v", err)
	}
	if err := c.Will(ctx, "wills/#", nil); err == nil || !strings.Contains(err.Error(), `cannot leave a will for "wills/#"`) {
		t.Fatalf("a filter is no topic: %v", err)
	}
	c.Close()
	os.Exit(7)
}

// TestElect: who leads has the lock, and its value says so; who resigns takes the value away, and not that of the next; and what is published
// under a lock that is lost is refused.
func TestElect(t *testing.T) {
	ctx := context.Background()
	c, other := dialDaemon(t, ""), dialDaemon(t, "")
	leads := func(want string) {
		t.Helper()
		m, ok, err := c.Get(ctx, "elect/a/leader")
		if err != nil || string(m.Payload) != want || ok != (want != "") {
			t.Fatalf("%q leads, and %q should: %v", m.Payload, want, err)
		}
	}
	first, err := c.Elect(ctx, "elect/a", "first")
	if err != nil {
		t.Fatal(err)
	}
	leads("first")
	if _, err := other.Elect(ctx, "elect/a", "second", ipc.Wait(0)); !errors.Is(err, ipc.ErrBusy) {
		t.Fatalf("there are two: %v", err)
	}
	leads("first")
	if _, err := other.Break(ctx, "elect/a", "to see"); err != nil {
		t.Fatal(err)
	}
	<-first.Lost()
	second, err := other.Elect(ctx, "elect/a", "second")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(ctx, "elect/a/leader", []byte("late"), ipc.Retain(), ipc.Under(first.Hold)); !errors.Is(err, ipc.ErrStale) {
		t.Errorf("who has lost the lock publishes under it: %v", err)
	}
	leads("second")
	if _, err := other.Publish(ctx, "elect/a/leader", []byte("2nd"), ipc.Retain(), ipc.Under(second.Hold)); err != nil {
		t.Error(err)
	}
	leads("2nd")
	_ = first.Resign(ctx)
	leads("2nd")
	if err := second.Resign(ctx); err != nil {
		t.Error(err)
	}
	leads("")

	k, err := ipc.DialLink(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	third, err := k.Elect(ctx, "elect/a", "third")
	if err != nil {
		t.Fatal(err)
	}
	leads("third")
	if err := third.Resign(ctx); err != nil {
		t.Error(err)
	}
	leads("")
}

// TestResignTakesOwnValue: whether the lead is this one's still, and that its value is taken away, is one command: nobody can take the lead in
// between. The will goes when the value has gone; if the lead was lost, it may be that of the next lead of this process, and stays.
func TestResignTakesOwnValue(t *testing.T) {
	ctx := context.Background()
	for _, answer := range []string{":1\r\n", "-STALE token 7 is not that of a present hold\r\n"} {
		c, s := newFake(t).client()
		elected := start(func() (*ipc.Lead, error) { return c.Elect(ctx, "a", "first") })
		if words := s.next(); words[0] != "LOCK.ACQUIRE" {
			t.Fatalf("the client sent %q", words)
		}
		s.say("%5\r\n+name\r\n+a\r\n+token\r\n:7\r\n+mode\r\n+exclusive\r\n+previous\r\n+none\r\n+abandoned\r\n+\r\n")
		s.expect("BUS.WILL", "a/leader", "", "FOR", "self", "CLEAR")
		s.say("+OK\r\n")
		s.expect("BUS.PUB", "a/leader", "first", "RETAIN", "UNDER", "a", "7")
		s.say("%3\r\n+seq\r\n:1\r\n+delivered\r\n:0\r\n+dropped\r\n:0\r\n")
		lead := elected.ok(t)
		resigned := start(func() (struct{}, error) { return struct{}{}, lead.Resign(ctx) })
		s.expect("BUS.CLEAR", "a/leader", "UNDER", "a", "7")
		if s.say(answer); answer[0] == ':' {
			s.expect("BUS.UNWILL", "a/leader", "FOR", "self")
			s.say(":1\r\n")
		}
		s.expect("LOCK.RELEASE", "a", "7")
		s.say("+OK\r\n")
		resigned.ok(t)
	}
}
