package config

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patienceOfTests = 20 * time.Second

// sh runs a script in dir. In it, put N FILE writes a configuration that can be told from others by the number.
func sh(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", `put() { echo "limits.connections = $1" >"$2"; }; `+script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func TestWatch(t *testing.T) {
	type step struct {
		script string
		want   int // the number that is in force after it
	}
	unset := Default().Limits.Connections
	for name, test := range map[string]struct {
		before string
		steps  []step
	}{
		"written": {
			`mkdir etc; put 1 etc/ipcd.toml`,
			[]step{{`put 2 etc/ipcd.toml`, 2}, {`put 3 etc/ipcd.toml`, 3}},
		},
		"replaced": {
			`mkdir etc; put 1 etc/ipcd.toml`,
			[]step{
				{`put 2 etc/new; mv etc/new etc/ipcd.toml`, 2},
				{`sed -i s/2/3/ etc/ipcd.toml`, 3},
				{`mv etc/ipcd.toml etc/ipcd.toml~; put 4 etc/ipcd.toml`, 4},
				{`rm etc/ipcd.toml`, unset},
				{`mv etc/ipcd.toml~ etc/ipcd.toml`, 3},
			},
		},
		"refused at first": {
			`mkdir -p etc/ipcd.conf.d; ln -s . etc/ipcd.conf.d/a.toml`, // Not a regular file.
			[]step{{`rm etc/ipcd.conf.d/a.toml`, unset}, {`put 1 etc/ipcd.toml`, 1}},
		},
		"appears": {
			`mkdir etc`,
			[]step{{`put 1 etc/ipcd.toml`, 1}},
		},
		"directory appears": {
			`true`,
			[]step{{`mkdir etc; put 1 etc/ipcd.toml`, 1}, {`put 2 etc/ipcd.toml`, 2}, {`rm -r etc`, unset}},
		},
		"directory made anew": {
			`mkdir -p etc/ipcd.conf.d; put 1 etc/ipcd.toml`,
			[]step{
				{`rm -r etc; mkdir etc; put 2 etc/ipcd.toml`, 2},
				{`put 3 etc/ipcd.toml`, 3},
				{`rm -r etc`, unset},
				{`mkdir -p etc/ipcd.conf.d; put 4 etc/ipcd.conf.d/a.toml`, 4},
			},
		},
		"directory renamed": {
			`mkdir etc; put 1 etc/ipcd.toml`,
			[]step{
				{`mv etc old`, unset},
				{`mv old etc`, 1},
				{`mv etc old; mkdir etc; put 2 etc/ipcd.toml`, 2},
				{`put 3 etc/ipcd.toml`, 3},
			},
		},
		"directory renamed and removed": {
			`mkdir etc; put 1 etc/ipcd.toml`,
			[]step{{`put 2 etc/ipcd.toml; mv etc old; rm -r old`, unset}, {`mkdir etc; put 3 etc/ipcd.toml`, 3}},
		},
		"drop-ins": {
			`mkdir -p etc/ipcd.conf.d; put 1 etc/ipcd.toml`,
			[]step{
				{`put 2 etc/ipcd.conf.d/a.toml`, 2},
				{`put 3 etc/ipcd.conf.d/b.toml`, 3},
				{`mv etc/ipcd.conf.d/b.toml etc/ipcd.conf.d/b`, 2},
				{`rm -r etc/ipcd.conf.d`, 1},
				{`mkdir etc/ipcd.conf.d; put 4 etc/ipcd.conf.d/a.toml`, 4},
				{`put 5 etc/ipcd.conf.d/a.toml`, 5},
			},
		},
		"drop-in directory appears": {
			`mkdir etc; put 1 etc/ipcd.toml`,
			[]step{{`mkdir etc/ipcd.conf.d; put 2 etc/ipcd.conf.d/a.toml`, 2}, {`put 3 etc/ipcd.conf.d/a.toml`, 3}},
		},
		"linked file": {
			`mkdir etc real; put 1 real/one; put 2 real/two; ln -s ../real/one etc/ipcd.toml`,
			[]step{
				{`put 3 real/one`, 3},
				{`ln -sf "$PWD/./real//two" etc/ipcd.toml`, 2},
				{`put 4 real/new; mv real/new real/two`, 4},
				{`ln -sf ../real/three etc/ipcd.toml`, unset},
				{`put 5 real/three`, 5},
			},
		},
		"linked directory": {
			`mkdir a b; put 1 a/ipcd.toml; put 2 b/ipcd.toml; ln -s a etc`,
			[]step{
				{`ln -sfn b etc`, 2},
				{`put 3 b/ipcd.toml`, 3},
				{`rm etc`, unset},
				{`ln -s a etc`, 1},
				{`mv a c; ln -sfn c etc`, 1},
				{`put 4 c/ipcd.toml`, 4},
			},
		},
		"linked drop-in": {
			`mkdir -p etc/ipcd.conf.d real; put 1 real/one; ln -s ../../real/one etc/ipcd.conf.d/a.toml`,
			[]step{
				{`put 2 real/one`, 2},
				{`mv etc/ipcd.conf.d d; ln -s ../d etc/ipcd.conf.d; ln -sf ../real/two d/a.toml; put 3 real/two`, 3},
				{`put 4 real/two`, 4},
			},
		},
		"mounted by Kubernetes": {
			`mkdir -p etc/..1; put 1 etc/..1/ipcd.toml; ln -s ..1 etc/..data; ln -s ..data/ipcd.toml etc/ipcd.toml`,
			[]step{
				{`mkdir etc/..2; put 2 etc/..2/ipcd.toml; ln -s ..2 etc/new; mv -T etc/new etc/..data; rm -r etc/..1`, 2},
				{`mkdir etc/..3; put 3 etc/..3/ipcd.toml; ln -s ..3 etc/new; mv -T etc/new etc/..data; rm -r etc/..2`, 3},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sh(t, dir, test.before)
			path := filepath.Join(dir, "etc/ipcd.toml")
			changed := watch(t, path, time.Millisecond)
			for _, s := range test.steps {
				sh(t, dir, s.script)
				await(t, path, changed, s.want)
			}
		})
	}
}

// watch watches path until the test ends. What it returns holds a value after a change.
func watch(t *testing.T, path string, settle time.Duration) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changed := make(chan struct{}, 1)
	ended, err := Watch(ctx, path, settle, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return changed
}

// await waits for the changes until want is in force.
func await(t *testing.T, path string, changed <-chan struct{}, want int) {
	t.Helper()
	timeout := time.After(patienceOfTests)
	for {
		select {
		case <-changed:
			if c, err := Load(path, false); err == nil && c.Limits.Connections == want {
				return
			}
		case <-timeout:
			c, err := Load(path, false)
			t.Fatalf("waiting for %d in vain; now: %v, %v", want, c, err)
		}
	}
}

// A directory that somebody has open is not gone when it is removed, and does not tell. The settling time is long enough that
// there is a new one when the watches are renewed.
func TestWatchRemovedButOpen(t *testing.T) {
	dir := t.TempDir()
	sh(t, dir, `mkdir etc; put 1 etc/ipcd.toml`)
	f, err := os.Open(filepath.Join(dir, "etc"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	path := filepath.Join(dir, "etc/ipcd.toml")
	changed := watch(t, path, 100*time.Millisecond)
	sh(t, dir, `rm -r etc; mkdir etc; put 2 etc/ipcd.toml`)
	await(t, path, changed, 2)
	sh(t, dir, `put 3 etc/ipcd.toml`)
	await(t, path, changed, 3)
}

func TestWatchLeavesNothing(t *testing.T) {
	descriptors := func() []string {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		var open []string
		for _, e := range entries {
			target, _ := os.Readlink("/proc/self/fd/" + e.Name()) // That of ReadDir itself is closed by now.
			if strings.Contains(target, "inotify") {
				open = append(open, target)
			}
		}
		return open
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, err := Watch(ctx, filepath.Join(t.TempDir(), "ipcd.toml"), time.Hour, func() { t.Error("called") })
	if err != nil {
		t.Fatal(err)
	}
	if open := descriptors(); len(open) != 1 {
		t.Errorf("watching with %v", open)
	}
	cancel()
	if err, more := <-ended; err != nil || more {
		t.Errorf("ended with %v, %v", err, more)
	}
	if open := descriptors(); len(open) != 0 {
		t.Errorf("left open: %v", open)
	}
}

// When calls come, by a clock that only the test moves.
func TestCoalescing(t *testing.T) {
	const ms = time.Millisecond
	path := filepath.Join(t.TempDir(), "ipcd.toml")
	ours, other := fsnotify.Event{Name: path}, fsnotify.Event{Name: path + ".swp"}
	type event struct {
		after time.Duration
		what  fsnotify.Event
	}
	var steady []event
	for range 25 {
		steady = append(steady, event{60 * ms, ours})
	}
	for name, test := range map[string]struct {
		events []event
		want   []time.Duration
	}{
		"one":               {[]event{{0, ours}}, []time.Duration{100 * ms}},
		"burst":             {[]event{{0, ours}, {90 * ms, ours}, {20 * ms, ours}}, []time.Duration{210 * ms}},
		"two":               {[]event{{0, ours}, {150 * ms, ours}}, []time.Duration{100 * ms, 250 * ms}},
		"another file":      {[]event{{0, other}}, nil},
		"another file's":    {[]event{{0, ours}, {90 * ms, other}}, []time.Duration{100 * ms}},
		"without end":       {steady, []time.Duration{1060 * ms, 1600 * ms}},
		"removed directory": {[]event{{5 * ms, fsnotify.Event{Name: filepath.Dir(path)}}}, []time.Duration{105 * ms}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestWatcher(t, path)
			synctest.Test(t, func(t *testing.T) {
				var calls []time.Duration
				start := time.Now()
				w.onChange = func() { calls = append(calls, time.Since(start)) }
				ctx, cancel := context.WithCancel(context.Background())
				events, ended := make(chan fsnotify.Event), make(chan error)
				go func() { ended <- w.run(ctx, events, nil) }()
				for _, e := range test.events {
					<-time.After(e.after)
					events <- e.what
				}
				<-time.After(time.Second)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(test.want, calls); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A watcher of which the test has not begun to take the events: the first that comes holds up those after it.
func newTestWatcher(t *testing.T, path string) *watcher {
	t.Helper()
	w, err := newWatcher(path, 100*time.Millisecond, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.notify.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// The watches are renewed before the library has learned that a directory got another name.
func TestSyncAheadOfEvents(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sh(t, dir, `mkdir a; put 1 a/ipcd.toml; ln -s a etc`)
	w := newTestWatcher(t, filepath.Join(dir, "etc/ipcd.toml"))
	sh(t, dir, `mv a b; ln -sfn b etc`)
	if err := w.sync(); err != nil {
		t.Fatal(err)
	}
	sh(t, dir, `put 2 b/ipcd.toml`)
	timeout := time.After(patienceOfTests)
	for name := ""; name != filepath.Join(dir, "b/ipcd.toml"); {
		select {
		case e := <-w.notify.Events:
			name = e.Name
		case <-timeout:
			t.Fatal("the directory is not watched under its new name")
		}
	}
	if diff := cmp.Diff([]string{dir, filepath.Join(dir, "b")}, slices.Sorted(slices.Values(w.notify.WatchList()))); diff != "" {
		t.Errorf("watched (-want +got):\n%s", diff)
	}
}

// The library finds a watch gone when it wants to remove it, says so, and holds its lock meanwhile.
func TestErrorsDoNotBlock(t *testing.T) {
	dir := t.TempDir()
	sh(t, dir, `mkdir etc`)
	w := newTestWatcher(t, filepath.Join(dir, "etc/ipcd.toml"))
	sh(t, dir, `put 1 etc/ipcd.toml; mv etc old; rm -r old`)
	calls := make(chan struct{})
	w.onChange = func() { calls <- struct{}{} }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.watch(ctx) }()
	<-calls
	go func() {
		for range calls { // However many there are.
		}
	}()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(calls)
}

func TestLostEvents(t *testing.T) {
	w := newTestWatcher(t, filepath.Join(t.TempDir(), "ipcd.toml"))
	w.settle = 0
	called := make(chan struct{})
	w.onChange = func() { close(called) }
	ctx, cancel := context.WithCancel(context.Background())
	lost, ended := make(chan struct{}), make(chan error)
	go func() { ended <- w.run(ctx, nil, lost) }()
	lost <- struct{}{}
	<-called
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTargets(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sh(t, dir, `mkdir -p a/b/ipcd.conf.d; ln -s a/b etc; ln -s loop loop`)
	targets := findTargets(filepath.Join(dir, "etc/ipcd.toml"))
	want := map[string]bool{dir: true, dir + "/a/b": true, dir + "/a/b/ipcd.conf.d": true}
	if diff := cmp.Diff(want, targets.dirs); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	for name, want := range map[string]bool{
		"etc":                       true,
		"a/b":                       true,
		"a":                         false,
		"a/b/ipcd.toml":             true,
		"a/b/ipcd.toml~":            false,
		"a/b/ipcd.conf.d":           true,
		"a/b/ipcd.conf.d/x.toml":    true,
		"a/b/ipcd.conf.d/.x.toml":   false,
		"a/b/ipcd.conf.d/x.toml.gz": false,
		"x.toml":                    false,
	} {
		if got := targets.concerns(filepath.Join(dir, name)); got != want {
			t.Errorf("%s concerns: %v, want %v", name, got, want)
		}
	}
	if !findTargets("/no-such-directory/ipcd.toml").concerns("//no-such-directory") {
		t.Error("a name below the root does not concern")
	}
	findTargets(filepath.Join(dir, "loop/ipcd.toml")) // It ends.
}
