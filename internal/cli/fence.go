package cli

import (
	"os"
	"strconv"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type fenceVerb struct{ status statusFile }

func fence() *verb.Verb {
	var f fenceVerb
	return &verb.Verb{
		Name:     "fence",
		Group:    "Locks",
		Summary:  "Check a token, or run CMD only while its lock is held",
		Synopsis: []string{"NAME TOKEN", "NAME TOKEN -- CMD [ARG…]"},
		About: []string{
			"Without CMD, asks whether TOKEN belongs to a hold of the lock NAME that has not ended, and fails with 82 if it does " +
				"not: a slow process so learns that it has lost the lock.",
			"With CMD, becomes CMD, which joins the hold: nobody is granted NAME before CMD has ended, even if all other holders " +
				"end or their lease does. So what CMD does cannot mix with what the next holder does. If the hold is over, CMD does " +
				"not run.",
			"Every user may ask; to run CMD, one must be the user who holds the lock, or root.",
			"What does not fit into one CMD can be guarded by the token itself. Tokens only rise, also over restarts: whatever " +
				"stores something stores the token with it, and refuses a lower one.",
		},
		Options: []verb.Option{f.status.option()},
		Env:     lockEnv,
		Examples: []verb.Example{
			{Line: `ipcctl lock report -- sh -c './make >new && ipcctl fence report "$IPC_LOCK_TOKEN" -- mv new report'`,
				Help: "The result is put in place only if the lock was not lost meanwhile."},
			{Line: "ipcctl fence report 1795401234567890 || exit", Help: "Is it still held?"},
		},
		Exits:   []int{exit.Data, exit.NoLock, exit.NoExec, exit.NoCmd},
		Words:   []string{"NAME", "TOKEN"},
		Least:   2,
		Most:    2,
		Grammar: verb.WordsCommand,
		Failed:  f.status.failed,
		Run:     f.run,
	}
}

func (f *fenceVerb) run(c *verb.Call) error {
	name, token := c.Words[0], c.Words[1]
	join, ok := parseToken(token)
	if !ok {
		return exit.Unparsed(strconv.Quote(token), "expected a token").With("it is in $IPC_LOCK_TOKEN, and ipcctl locks shows it")
	}
	file := ""
	if c.Command != nil {
		var err error
		if file, err = lookPath(c, c.Command[0]); err != nil {
			return err
		}
	}
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.Command == nil {
		_, err := conn.Do("LOCK.CHECK", name, token)
		if err != nil {
			return exit.Cannot("go on under "+printable.Name(name), err)
		}
		return nil
	}
	joins := ipc.LockRequest{Names: []string{name}, For: "self", Join: join}
	grant, err := doProven(conn, joins.Words()...)
	if err != nil {
		return exit.Cannot("go on under "+printable.Name(name), err)
	}
	conn.Close()
	grants := ipc.Holds(grant)
	f.status.tokens(runWord, grants)
	who := holder{bound: "self", pid: os.Getpid(), pidfd: -1, shows: grants}
	return giveBack(c, grants, who, process.Become(file, c.Command, lockEnvironment(os.Environ(), grants)))
}
