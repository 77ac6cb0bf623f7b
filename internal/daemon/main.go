package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipcd/ipcd/internal/config"
	"github.com/ipcd/ipcd/internal/version"
)

// Exit statuses, as sysexits(3) has them.
const (
	exitOK     = 0
	exitUsage  = 64
	exitInUse  = 69 // EX_UNAVAILABLE: another daemon answers on the socket
	exitOSErr  = 71
	exitConfig = 78
)

// flags are the command line.
type flags struct {
	socket   string
	config   string
	stateDir string
	ownState bool // stateDir was given on the command line
	check    bool
	version  bool
}

const usage = `Usage: ipcd [--socket PATH] [--config FILE] [--state-dir DIR]
       ipcd --check-config [--config FILE]

ipcd is a message bus and named locks for the processes of one machine.
systemd starts it (ipcd.socket); by hand, give it a socket of its own.

  --socket PATH     listen on PATH instead of the configured main socket
  --config FILE     read FILE and the drop-ins beside it (default
                    $CONFIGURATION_DIRECTORY/ipcd.toml or
                    /etc/ipcd/ipcd.toml; with --socket: built-in settings)
  --state-dir DIR   keep what outlives a reboot in DIR (default
                    $STATE_DIRECTORY; without either, nothing is kept)
  --check-config    check the configuration, and end
  --version         print the version, and end
  --help            print this, and end

Signals: SIGTERM stops, SIGHUP reads the configuration again.
Exit status: 0 stopped, 64 usage, 69 another daemon has the socket,
71 system error, 78 configuration. See ipcd(8), ipcd.toml(5).
`

// Main runs ipcd with the arguments of the process and returns its exit status.
func Main() int {
	return run(os.Args[1:], os.Stdout, os.Stderr)
}

func run(args []string, stdout, stderr io.Writer) int {
	f, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stdout, usage)
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "ipcd: %v\nhint: ipcd --help\n", err)
		return exitUsage
	}
	if f.version {
		_, _ = fmt.Fprintln(stdout, "ipcd", version.String())
		return exitOK
	}
	l := newLoader(f.load)
	cfg, err := l.load()
	if err != nil && (f.check || f.attended()) {
		printConfigErrors(stderr, err)
		return exitConfig
	}
	if f.check {
		_, _ = fmt.Fprintf(stdout, "ipcd: the configuration is right (%s)\n", describeFiles(cfg))
		return exitOK
	}
	if err := serve(f, l, cfg, err); err != nil {
		_, _ = fmt.Fprintf(stderr, "ipcd: %v\n", err)
		var inUse *InUseError
		if errors.As(err, &inUse) {
			return exitInUse
		}
		if errors.Is(err, errNoSettings) {
			return exitConfig
		}
		if f.socket == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			_, _ = fmt.Fprintln(stderr, "hint: systemctl start ipcd.socket; to run one of your own: ipcd --socket PATH")
		}
		return exitOSErr
	}
	return exitOK
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("ipcd", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&f.socket, "socket", "", "")
	set.StringVar(&f.config, "config", "", "")
	set.StringVar(&f.stateDir, "state-dir", "", "")
	set.BoolVar(&f.check, "check-config", false, "")
	set.BoolVar(&f.version, "version", false, "")
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return f, err
	case err != nil: // "flag provided but not defined: -x"
		return f, fmt.Errorf("cannot parse the command line: %s", strings.Replace(err.Error(), ": -", ": --", 1))
	case set.NArg() > 0:
		return f, fmt.Errorf("cannot parse the command line: unexpected argument %q", set.Arg(0))
	}
	var err error
	set.Visit(func(given *flag.Flag) { // a variable of a script that is not set must not mean the system's daemon
		if given.Value.String() == "" {
			err = fmt.Errorf("cannot parse the command line: --%s wants a path, not an empty word", given.Name)
		}
	})
	if len(f.socket) > config.MaxPath {
		err = fmt.Errorf("cannot listen on %s: the path of a socket has at most %d bytes, not %d", f.socket, config.MaxPath, len(f.socket))
	}
	if err != nil {
		return f, err
	}
	if f.ownState = f.stateDir != ""; !f.ownState {
		f.stateDir = os.Getenv("STATE_DIRECTORY")
	}
	return f, nil
}

// load reads the configuration that the flags mean. A daemon with a socket of its own is not the system's, and does
// not take the system's configuration unless told to.
func (f *flags) load() (*config.Config, error) {
	cfg := config.Default()
	if path, ok := f.configPath(); ok {
		var err error
		if cfg, err = config.Load(path, f.config != ""); err != nil {
			return nil, err
		}
	}
	return f.adapt(cfg), nil
}

// adapt changes a configuration as the flags say.
func (f *flags) adapt(cfg *config.Config) *config.Config {
	if f.socket != "" {
		cfg.Sockets["main"].Path = f.socket
	}
	return cfg
}

// attended tells that a person started the daemon and waits for what it says: then to refuse is better than to go on with other
// settings than those of the file that the person has named.
func (f *flags) attended() bool {
	return f.config != "" && os.Getenv("NOTIFY_SOCKET") == "" && os.Getenv("LISTEN_FDS") == ""
}

// configPath is the file to read, if any.
func (f *flags) configPath() (string, bool) {
	switch {
	case f.config != "":
		return f.config, true
	case f.socket != "" && !f.check:
		return "", false
	}
	if dir := os.Getenv("CONFIGURATION_DIRECTORY"); dir != "" { // set by a unit; a user's has a directory of its own
		return filepath.Join(dir, filepath.Base(config.DefaultPath)), true
	}
	return config.DefaultPath, true
}

func printConfigErrors(w io.Writer, err error) {
	var all config.Errors
	if !errors.As(err, &all) {
		_, _ = fmt.Fprintf(w, "ipcd: %v\n", err)
		return
	}
	for _, e := range all {
		_, _ = fmt.Fprintf(w, "ipcd: %v\n", e)
	}
}

func describeFiles(cfg *config.Config) string {
	if len(cfg.Files) == 0 {
		return "no file: the built-in settings"
	}
	paths := make([]string, len(cfg.Files))
	for i, f := range cfg.Files {
		paths[i] = f.Path
	}
	return strings.Join(paths, ", ")
}
