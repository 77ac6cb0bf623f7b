package systemd_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/systemd"
)

// The test binary, called as "files", prints what it was passed: systemd passes files to a new process only.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "files" {
		printFiles()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func printFiles() {
	files, err := systemd.Files()
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	for _, f := range files {
		listener, err := systemd.IsUnixListener(int(f.Fd()))
		if err != nil {
			fmt.Println("error:", err)
		}
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil {
			fmt.Println("error:", err)
		}
		fmt.Printf("%s listener=%v cloexec=%v\n", f.Name, listener, flags&unix.FD_CLOEXEC != 0)
	}
	again, err := systemd.Files()
	fmt.Println("again:", len(again), err)
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if _, ok := os.LookupEnv(v); ok {
			fmt.Println("error:", v, "is left for children")
		}
	}
}

// passed is what a new process says of the files that it is passed as the environment says.
func passed(t *testing.T, files []*os.File, env ...string) string {
	t.Helper()
	// The shell knows the number of the process that it becomes.
	cmd := exec.Command("/bin/sh", "-c", `[ "$LISTEN_PID" != self ] || export LISTEN_PID=$$; exec "$0" files`, "/proc/self/exe")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args[len(cmd.Args)-1] = exe
	cmd.Env = append(os.Environ(), env...)
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestFiles(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	listener, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	both := []*os.File{listener, null}

	const listenerLine, none = "listener=true cloexec=true\n", "again: 0 <nil>\n"
	for _, tt := range []struct {
		name string
		env  string
		want string
	}{
		{"named", "LISTEN_PID=self LISTEN_FDS=2 LISTEN_FDNAMES=main:state",
			"main " + listenerLine + "state listener=false cloexec=true\n" + none},
		{"same name twice", "LISTEN_PID=self LISTEN_FDS=2 LISTEN_FDNAMES=c:c",
			"c " + listenerLine + "c listener=false cloexec=true\n" + none},
		{"without names", "LISTEN_PID=self LISTEN_FDS=1", "unknown " + listenerLine + none},
		{"none", "LISTEN_PID=self LISTEN_FDS=0", none},
		{"without systemd", "", none},
		{"another process's", "LISTEN_PID=1 LISTEN_FDS=2", none},
		{"no number", "LISTEN_PID=self LISTEN_FDS=two", `error: .*LISTEN_FDS="two"`},
		{"negative", "LISTEN_PID=self LISTEN_FDS=-1", `error: .*LISTEN_FDS="-1"`},
		{"no process", "LISTEN_PID=x LISTEN_FDS=1", `error: .*LISTEN_PID="x"`},
		{"no process said", "LISTEN_FDS=1", `error: .*LISTEN_PID=""`},
		{"no number said", "LISTEN_PID=self", `error: .*LISTEN_FDS=""`},
		{"more than there are", "LISTEN_PID=self LISTEN_FDS=1000000", "error: .*descriptor 5 was not passed"},
		{"too few names", "LISTEN_PID=self LISTEN_FDS=2 LISTEN_FDNAMES=main", `error: .*LISTEN_FDNAMES="main" has 1 name`},
		{"too many names", "LISTEN_PID=self LISTEN_FDS=1 LISTEN_FDNAMES=a:b", `error: .*LISTEN_FDNAMES="a:b" has 2 names`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := passed(t, both, strings.Fields(tt.env)...)
			before, after, isError := strings.Cut(tt.want, ".*")
			if isError && (!strings.HasPrefix(got, before) || !strings.Contains(got, after)) || !isError && got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestIsUnixListener(t *testing.T) {
	socket := func(domain, kind int) int {
		t.Helper()
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	listening := func(fd int, a unix.Sockaddr) int {
		t.Helper()
		if err := unix.Bind(fd, a); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = null.Close(), unix.Close(pair[0]), unix.Close(pair[1]) })
	dir := t.TempDir()
	at := func(name string) unix.Sockaddr { return &unix.SockaddrUnix{Name: filepath.Join(dir, name)} }
	for _, tt := range []struct {
		name string
		fd   int
		want bool
	}{
		{"a listener", listening(socket(unix.AF_UNIX, unix.SOCK_STREAM), at("stream")), true},
		{"a listener for packets", listening(socket(unix.AF_UNIX, unix.SOCK_SEQPACKET), at("packet")), false},
		{"an Internet listener", listening(socket(unix.AF_INET, unix.SOCK_STREAM), &unix.SockaddrInet4{}), false},
		{"a new socket", socket(unix.AF_UNIX, unix.SOCK_STREAM), false},
		{"a datagram socket", socket(unix.AF_UNIX, unix.SOCK_DGRAM), false},
		{"a connected socket", pair[0], false},
		{"a file", int(null.Fd()), false},
	} {
		if got, err := systemd.IsUnixListener(tt.fd); err != nil || got != tt.want {
			t.Errorf("%s: %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	if _, err := systemd.IsUnixListener(-1); err == nil {
		t.Error("no error for a closed descriptor")
	}
}

func ExampleFiles() {
	files, err := systemd.Files()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range files {
		switch ok, err := systemd.IsUnixListener(int(f.Fd())); {
		case f.Name == "main" && ok && err == nil:
			fmt.Println("listening on", f.Name)
		default:
			fmt.Printf("cannot use the file %q\n", f.Name)
			_ = f.Close()
		}
	}
	// Output:
}
