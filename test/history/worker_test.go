package history

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/ipc"
)

const workerEnv = "IPCD_HISTORY_WORKER" // the seed

func TestMain(m *testing.M) {
	if seed := os.Getenv(workerEnv); seed != "" {
		n, _ := strconv.ParseUint(seed, 10, 64)
		if err := work(rand.New(rand.NewPCG(n, 1))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// monotonic is a clock that all processes share.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// A want is what a worker asks for.
type want struct {
	lock  string
	mode  string // "X" alone, "S" shared, "U" units
	units int
}

// semaphore is the lock that has units, so many of them.
const (
	semaphore = "sem"
	units     = 3
)

// work takes locks and gives them back until its standard input ends. What it does it writes down first, what came of it
// after, each line with one system call, so that a kill cuts none in two:
//
//	ask TIME LOCK MODE UNITS
//	got TIME TOKEN           or "no TIME"
//	give TIME TOKEN
//	gave TIME TOKEN
func work(rng *rand.Rand) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	c, err := ipc.Dial(context.Background(), "")
	if err != nil {
		return err
	}
	defer c.Close()
	say := func(format string, args ...any) {
		_, _ = os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n")
	}
	for ctx.Err() == nil {
		w := want{lock: []string{"a", "b", semaphore}[rng.IntN(3)], mode: "X", units: 1}
		var options []ipc.LockOption
		switch rng.IntN(3) {
		case 0:
			w.mode = "S"
			options = append(options, ipc.Shared())
		case 1:
			if w.lock == semaphore {
				w.mode, w.units = "U", 1+rng.IntN(units)
				options = append(options, ipc.Units(w.units))
			}
		}
		if w.mode == "X" {
			options = append(options, ipc.Alone())
		}
		if w.lock == semaphore {
			options = append(options, ipc.Limit(units))
		}
		switch rng.IntN(4) {
		case 0:
			options = append(options, ipc.Wait(0))
		case 1:
			options = append(options, ipc.Wait(time.Duration(1+rng.IntN(5))*time.Millisecond))
		}
		if rng.IntN(3) == 0 {
			options = append(options, ipc.ForProcess())
		}
		say("ask %d %s %s %d", monotonic(), w.lock, w.mode, w.units)
		l, err := c.Lock(ctx, w.lock, options...)
		if err != nil {
			if !errors.Is(err, ipc.ErrBusy) && !errors.Is(err, ipc.ErrTimeout) && ctx.Err() == nil {
				return err
			}
			say("no %d", monotonic())
			continue
		}
		say("got %d %d", monotonic(), l.Token)
		for range rng.IntN(200) { // hold it for a while, without sleeping
			_ = monotonic()
		}
		if rng.IntN(20) == 0 { // sometimes for as long as it takes to ask something
			if _, err := c.Do(context.Background(), "PING"); err != nil {
				return err
			}
		}
		say("give %d %d", monotonic(), l.Token)
		if err := l.Unlock(context.Background()); err != nil {
			return err
		}
		say("gave %d %d", monotonic(), l.Token)
	}
	return nil
}

// A turn is one lock that a worker asked for, and what came of it. Times are 0 if it did not come to that.
type turn struct {
	want
	pid                    int
	asked, got, give, gave int64
	token                  uint64
	refused                bool
}

// readTurns reads what a worker wrote down, up to its end, and calls each for every line.
func readTurns(r io.Reader, pid int, each func()) ([]*turn, error) {
	var turns []*turn
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var verb string
		var at int64
		var t turn
		n, _ := fmt.Sscan(lines.Text(), &verb, &at)
		if n != 2 {
			return turns, fmt.Errorf("a worker wrote %q", lines.Text())
		}
		switch verb {
		case "ask":
			t.pid, t.asked = pid, at
			if _, err := fmt.Sscan(lines.Text(), &verb, &at, &t.lock, &t.mode, &t.units); err != nil {
				return turns, err
			}
			turns = append(turns, &t)
		case "got":
			last := turns[len(turns)-1]
			last.got = at
			if _, err := fmt.Sscan(lines.Text(), &verb, &at, &last.token); err != nil {
				return turns, err
			}
		case "no":
			turns[len(turns)-1].refused = true
		case "give":
			turns[len(turns)-1].give = at
		case "gave":
			turns[len(turns)-1].gave = at
		}
		each()
	}
	return turns, lines.Err()
}
