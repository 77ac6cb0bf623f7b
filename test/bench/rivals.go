package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// rivals are the servers that others made, in the order of the table, each with its program.
var rivals = []struct{ kind, program string }{
	{redisServer, "redis-server"},
	{natsServer, "nats-server"},
	{mosquittoServer, "mosquitto"},
	{dbusDaemon, "dbus-daemon"},
	{dbusBroker, "dbus-broker"},
}

// findRivals looks for the rivals' programs, also where PATH has no programs for administrators.
func (b *bench) findRivals() {
	b.programsOf = make(map[string]string)
	for _, r := range rivals {
		program := r.program
		if r.kind == redisServer {
			program = b.redis
		}
		for _, p := range []string{program, "/usr/sbin/" + program} {
			if path, err := exec.LookPath(p); err == nil {
				b.programsOf[r.kind] = path
				break
			}
		}
		if !b.has(r.kind) {
			fmt.Fprintf(os.Stderr, "bench: %s IS NOT INSTALLED, ratios to it are missing; docs/benchmarks.md says how to get it\n", r.program)
		}
	}
}

func (b *bench) has(kind string) bool { return b.programsOf[kind] != "" }

// versions has a line for each rival.
func (b *bench) versions() []string {
	var lines []string
	for _, r := range rivals {
		path := b.programsOf[r.kind]
		switch {
		case path == "":
			lines = append(lines, r.program+" not installed")
		case r.kind == mosquittoServer: // it has no option for its version alone, and its status is that of an error
			out, _ := exec.Command(path, "-h").Output()
			line, _, _ := strings.Cut(string(out), "\n")
			lines = append(lines, line)
		case r.kind == dbusBroker:
			lines = append(lines, "dbus-broker: "+firstLine(path, "--version"))
		default:
			lines = append(lines, firstLine(path, "--version"))
		}
	}
	return lines
}

// A launch is how a server is started in a directory of its own.
type launch struct {
	argv   []string
	config string                 // what its file of that name has
	files  []*os.File             // that it gets, from descriptor 3 on
	begin  func() error           // what it has to be told before it serves
	find   func() (string, error) // where it listens, if that is not the socket of the directory
}

// spareDescriptors is how many a server has for something else than connections.
const spareDescriptors = 100

// mostConnections is how many one user may have: so that he cannot take all descriptors, also if what he has closed is not closed yet
// by the server, which he waits for alone.
func (b *bench) mostConnections() int { return b.descriptors * 3 / 4 }

// launchOf says how a kind of server is started. Limits are those that rows need, and that the machine's administrator would set.
func (b *bench) launchOf(kind, dir string, p place) (launch, error) {
	sock, config := filepath.Join(dir, "sock"), filepath.Join(dir, "config")
	program := b.programsOf[kind]
	switch kind {
	case ipcdServer:
		return launch{
			argv: []string{b.ipcd, "--socket", sock, "--config", config, "--state-dir", filepath.Join(dir, "state")},
			config: fmt.Sprintf("[limits]\nconnections = %d\nconnections_per_user = %d\nsubscriptions_per_user = 200000\n"+
				"retained_per_user = 100000\nretained = 100000\ninput = \"2MiB\"\n[socket.main]\nmode = \"0666\"\n",
				b.descriptors-spareDescriptors, b.mostConnections()),
		}, nil
	case redisServer:
		return launch{
			argv:   []string{program, config, "--save", "", "--appendonly", "no"},
			config: fmt.Sprintf("port 0\nunixsocket %s\ndir %s\nmaxclients %d\n", sock, dir, b.descriptors-spareDescriptors),
		}, nil
	case natsServer:
		return launch{
			argv:   []string{program, "-c", config},
			config: fmt.Sprintf("listen: \"127.0.0.1:-1\"\nports_file_dir: %q\nping_interval: \"1h\"\n", dir),
			find:   func() (string, error) { return natsAddress(dir) },
		}, nil
	case mosquittoServer:
		return launch{
			argv: []string{program, "-c", config},
			config: fmt.Sprintf("user root\nlistener 0 %s\nallow_anonymous true\npersistence false\nmax_queued_messages 10000\n"+
				"log_dest stderr\nlog_type error\n", sock),
		}, nil
	case dbusDaemon:
		var limits strings.Builder
		for _, l := range []string{"max_connections_per_user", "max_completed_connections", "max_match_rules_per_connection"} {
			fmt.Fprintf(&limits, "<limit name=%q>200000</limit>", l)
		}
		return launch{
			argv: []string{program, "--config-file=" + config, "--nofork", "--nopidfile"},
			config: "<busconfig><listen>unix:path=" + sock + "</listen><auth>EXTERNAL</auth>" + limits.String() +
				`<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>`,
		}, nil
	case dbusBroker:
		return b.launchOfBroker(sock)
	case rawServer:
		return launch{argv: []string{"/proc/self/exe", "raw-server", sock}}, nil
	case bareServer:
		poll := "50us" // as long as ipcd may
		if p == same {
			poll = "0s" // while it polls nobody can send
		}
		return launch{argv: []string{"/proc/self/exe", "bare-server", sock, poll}}, nil
	}
	return launch{}, fmt.Errorf("no server %q", kind)
}

// natsAddress reads which port a NATS server took.
func natsAddress(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no file of ports in %s", dir)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return "", err
	}
	var ports struct{ Nats []string }
	if err := json.Unmarshal(text, &ports); err != nil {
		return "", err
	}
	if len(ports.Nats) == 0 {
		return "", fmt.Errorf("no port in %s", files[0])
	}
	return strings.TrimPrefix(ports.Nats[0], "nats://"), nil
}

// launchOfBroker starts a dbus-broker without its launcher, which needs the journal of systemd: what the launcher tells it, we do.
func (b *bench) launchOfBroker(sock string) (launch, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return launch{}, err
	}
	listener, err := listen(sock)
	if err == nil {
		err = syscall.SetNonblock(listener, true) // as the broker expects
	}
	if err != nil {
		return launch{}, err
	}
	limits := []string{"--max-bytes", "1000000000", "--max-matches", "1000000", "--max-objects", "1000000", "--max-fds", "10000"}
	return launch{
		argv:  append([]string{b.programsOf[dbusBroker], "--controller", "3", "--machine-id", strings.Repeat("0", 31) + "1"}, limits...),
		files: []*os.File{os.NewFile(uintptr(pair[1]), "controller")},
		begin: func() error {
			controller := &conn{fd: pair[0]} // open for as long as the driver: the broker ends with it
			if err := bePatient(controller.fd); err != nil {
				return err
			}
			authenticate(controller)
			err := syscall.Sendmsg(controller.fd, addListener(), syscall.UnixRights(listener), nil, 0)
			if err != nil {
				return err
			}
			passMessage(controller)
			return syscall.Close(listener)
		},
	}, nil
}

// addListener is the call by which a broker is told to serve a socket, which comes beside it, and by which policy: everybody may do
// everything.
func addListener() []byte {
	const batch = "bta(btbs)a(btssssuutt)a(btssssuutt)"
	var m marshaller
	m.string("/org/bus1/DBus/Listener/0")
	m.uint32(0) // the first of the descriptors
	m.signature("(a(u(" + batch + "))a(buu(" + batch + "))a(ss)bs)")
	allow := func() { // with the lowest priority
		m.uint32(1)
		m.uint64(1)
	}
	messages := func() {
		allow()
		for range 4 { // any name, path, interface and member
			m.string("")
		}
		m.uint32(0)          // any type
		m.uint32(0)          // broadcast or not
		m.uint64(0)          // from no descriptor
		m.uint64(^uint64(0)) // to any number
	}
	m.align(8)
	m.structs(func() {
		m.uint32(^uint32(0)) // for all users
		m.align(8)
		allow()
		m.structs(func() {
			allow()
			m.uint32(1) // all names that begin with …
			m.string("")
		})
		m.structs(messages)
		m.structs(messages)
	})
	m.structs()  // for groups
	m.structs()  // of SELinux
	m.uint32(0)  // without AppArmor
	m.string("") // of no type
	return dbusMessage(dbusCall, "ohv", m.b,
		field{code: dbusPath, kind: "o", text: "/org/bus1/DBus/Broker"},
		field{code: dbusInterface, kind: "s", text: "org.bus1.DBus.Broker"},
		field{code: dbusMember, kind: "s", text: "AddListener"},
		field{code: dbusDescriptors, kind: "u", value: 1})
}
