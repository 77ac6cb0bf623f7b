package cli

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type electVerb struct {
	lockVerb
	id string // "": one that tells which process it is
}

func newElect() *electVerb {
	e := &electVerb{lockVerb: lockVerb{request: request{conflict: unset}, lost: unix.SIGTERM}}
	e.then = e.lead
	return e
}

func elect() *verb.Verb { return newElect().verb() }

// elected is the verb that becomes CMD: see guarded.
func elected() *verb.Verb {
	e := newElect()
	e.child = true
	v := e.verb()
	v.Group = "" // it is not for people
	return v
}

func (e *electVerb) verb() *verb.Verb {
	return &verb.Verb{
		Name:     "elect",
		Group:    "Locks",
		Summary:  "Run CMD in one place at a time, and tell who leads",
		Synopsis: []string{"[-w D] [-E N] [--as=ID] NAME -- CMD [ARG…]"},
		About: []string{
			"Waits for its turn, takes the lock NAME for CMD, publishes ID as the value of the topic `NAME/leader`, and runs CMD. When CMD has " +
				"ended, however it did, the value is gone and the next candidate leads. So of all who run this line one works, and the others stand by.",
			"Who leads is told by `ipcctl get NAME/leader`; `ipcctl sub NAME/leader` follows it: a new leader is a message with its ID, and " +
				"the end of one a message that is empty and says how it ended. The lock tells whether it is true: `ipcctl locks NAME`.",
			"If the lead is lost, by `ipcctl break NAME`, CMD gets SIGTERM, and until it has ended there may be two who work: what must not " +
				"be written by the one before is guarded by $IPC_LOCK_TOKEN, see `ipcctl fence`. The record is that of the new leader from when it says so, " +
				"and the end of the one before does not take it away.",
			"ipcctl stays as CMD's parent, ends with its status, and passes signals on to it, as `lock --on-lost` does. If ipcctl is " +
				"killed, CMD goes on and leads. A restart of the daemon does not end the lead.",
		},
		Options: []verb.Option{
			verb.Duration('w', "timeout", &e.timeout, "Fail with 124 after waiting this long; with `-w 0`, fail with 75 rather than wait").Or("wait"),
			verb.Number('E', "conflict-exit-code", "N", &e.conflict, 0, 255, "Fail with N instead of 75 and 124; with `-E 0`, say nothing either"),
			verb.Text(0, "as", "ID", &e.id, "What the candidate is called: the default is the machine's name and CMD's process, as in `web1:4711`"),
			e.status.option(),
		},
		Env: lockEnv,
		Examples: []verb.Example{
			{Line: "ipcctl elect web -- ./scheduler", Help: "On each instance: one runs the scheduler, another takes over when it dies."},
			{Line: "ipcctl elect --as=%n db -- ./primary", Help: "In a unit: the record is the unit's name."},
			{Line: "ipcctl sub db/leader -- ./reconnect", Help: "Followers do something when another leads."},
		},
		Exits:   append(append([]int{}, requestExits...), exit.NoLock, exit.NoExec, exit.NoCmd),
		Words:   []string{"NAME"},
		Least:   1,
		Most:    1,
		Grammar: verb.WordsCommand,
		Failed:  e.status.failed,
		Run:     e.run,
	}
}

func (e *electVerb) run(c *verb.Call) error {
	if c.Command == nil {
		return exit.Unparsed("elect", "CMD is missing").With(c.Verb.Usage())
	}
	if !e.child { // a mistake in the name is told before anybody waits
		conn, err := c.Dial()
		if err != nil {
			return err
		}
		_, err = conn.Do("BUS.GET", leaderTopic(c.Words[0]))
		conn.Close()
		if err != nil {
			return exit.Cannot("elect "+printable.Name(c.Words[0]), err)
		}
	}
	return e.lockVerb.run(c)
}

// leaderTopic is where it is told who leads.
func leaderTopic(name string) string { return name + "/leader" }

// lead tells that this process leads, which is what CMD will be.
func (e *electVerb) lead(c *verb.Call, grants []ipc.Hold) error {
	id := e.id
	if id == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		id = host + ":" + strconv.Itoa(os.Getpid())
	}
	_, err := holdValue(c, leaderTopic(grants[0].Name), id, "UNDER", grants[0].Name, tokenText(grants[0].Token))
	return err
}
