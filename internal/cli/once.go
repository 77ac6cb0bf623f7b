package cli

import (
	"os"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type onceVerb struct {
	request
	per    string
	status statusFile
	forget bool
}

func once() *verb.Verb {
	o := onceVerb{request: request{conflict: unset}, per: "boot"}
	return &verb.Verb{
		Name:     "once",
		Group:    "Locks",
		Summary:  "Run CMD unless it was done before",
		Synopsis: []string{"[--per=boot|day|ever] [-E N] KEY -- CMD [ARG…]", "--forget KEY"},
		About: []string{
			"Runs CMD under the lock KEY, and marks KEY as done if CMD succeeds. If KEY is marked already, CMD does not run. If " +
				"another process is at it, `ipcctl once` waits; if that one fails or dies, it runs its own CMD.",
			"A mark counts until the next boot, until midnight of the machine's local time, or for ever. It is on disk before " +
				"ipcctl ends, and counts for all users. `--forget` is for its own user, and for root.",
			"ipcctl stays as CMD's parent, ends with its status, and passes signals on to it, as `lock --on-lost` does. If " +
				"ipcctl is killed, CMD goes on and keeps the lock, but nothing is marked.",
		},
		Options: []verb.Option{
			{Long: "per", Value: "boot|day|ever", Set: o.setPer, Help: "How long it counts as done: until the next boot (the default), until the end of the day, or for ever"},
			verb.Number('E', "done-exit-code", "N", &o.conflict, 0, 255, "Exit with N, not 0, if it was done before"),
			verb.Flag(0, "forget", &o.forget, "Remove all marks of KEY instead"),
			o.status.option(),
		},
		Env: lockEnv,
		Examples: []verb.Example{
			{Line: "ipcctl once warm-cache -- ./warm-cache", Help: "The service that starts first after a boot does it; the others wait."},
			{Line: "ipcctl once --per=day report -- ./report", Help: "From an hourly timer: try until it has succeeded, once a day."},
			{Line: "ipcctl once --per=ever migrate/42 -- ./migrate 42", Help: "A step of an installation."},
		},
		Exits:   []int{exit.Data, exit.Deadlock, exit.NoLock, exit.NoExec, exit.NoCmd},
		Words:   []string{"KEY"},
		Least:   1,
		Most:    1,
		Grammar: verb.WordsCommand,
		Failed:  o.status.failed,
		Run:     o.run,
	}
}

func (o *onceVerb) setPer(s string) error {
	if s != "boot" && s != "day" && s != "ever" {
		return verb.Expectation{What: "boot, day or ever"}
	}
	o.per = s
	return nil
}

func (o *onceVerb) run(c *verb.Call) error {
	key := c.Words[0]
	if o.forget {
		return o.remove(c, key)
	}
	if c.Command == nil {
		return exit.Unparsed("once", "CMD is missing").With(c.Verb.Usage())
	}
	if _, err := lookPath(c, c.Command[0]); err != nil {
		return err
	}
	if done, err := o.done(c, key); done || err != nil {
		return err
	}
	who := thisProcess()
	// One that is nested would run CMD within CMD.
	who.shows = slices.DeleteFunc(who.shows, func(h ipc.Hold) bool { return h.Name == key })
	wait := request{conflict: unset, why: "once per " + o.per}
	grants, err := wait.take(c, []string{key}, who)
	if err != nil {
		return err
	}
	if done, err := o.done(c, key); done || err != nil {
		return giveBack(c, grants, who, err)
	}
	if err := o.runCommand(c, grants); err != nil {
		return err
	}
	conn, err := new(verb.Outage).Redial(c, time.Time{}, nil) // CMD may have taken long, and the daemon been restarted
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Do("LOCK.DONE", key, tokenText(grants[0].Token), "PER", o.per); err != nil {
		return exit.Cannot("mark "+printable.Name(key)+" as done", err)
	}
	return nil
}

// done finds out whether there is a mark. The error is the status that -E gives then.
func (o *onceVerb) done(c *verb.Call, key string) (bool, error) {
	conn, err := c.Dial3()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	mark, err := conn.Do("LOCK.ISDONE", key, "PER", o.per)
	if err != nil {
		return false, exit.Cannot("find out whether "+printable.Name(key)+" is done", err)
	}
	if mark.IsNull() {
		return false, nil
	}
	if c.Verbose {
		c.Say(printable.Name(key) + " was done at " + term.Clock(time.UnixMicro(mark.Get("at").Int)) + " by pid " + mark.Get("pid").Text())
	}
	if o.conflict > 0 {
		return true, exit.CommandStatus(o.conflict)
	}
	return true, nil
}

// runCommand runs CMD as one more owner of the lock.
func (o *onceVerb) runCommand(c *verb.Call, grants []ipc.Hold) error {
	argv := append(self(c), "fence")
	if o.status != 0 {
		argv = append(argv, o.status.typed())
		o.status.inherit()
	}
	argv = append(append(argv, "--", grants[0].Name, tokenText(grants[0].Token), "--"), c.Command...)
	k, err := process.StartChild(argv[0], argv, lockEnvironment(os.Environ(), grants))
	if err != nil {
		return err
	}
	return k.Wait()
}

// remove is --forget.
func (o *onceVerb) remove(c *verb.Call, key string) error {
	if c.Command != nil {
		return exit.Unparsed("--forget", "it runs no CMD").With(c.Verb.Usage())
	}
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := conn.Do("LOCK.FORGET", key)
	if err != nil {
		return exit.Cannot("forget "+printable.Name(key), err)
	}
	if c.Verbose {
		c.Say("removed " + term.Plural(n.Int, "mark") + " of " + printable.Name(key))
	}
	return nil
}
