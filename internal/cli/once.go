package cli

import (
	"os"
	"slices"
	"time"

	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type onceVerb struct {
	request
	per    string
	status statusFile
	forget bool
}

func once() *Verb {
	o := onceVerb{request: request{conflict: unset}, per: "boot"}
	return &Verb{
		Name:     "once",
		Group:    "Locks",
		Summary:  "Run CMD unless it was done before",
		Synopsis: []string{"[--per=boot|day|ever] [-E N] KEY -- CMD [ARG…]", "--forget KEY"},
		About: []string{
			"Runs CMD under the lock KEY, and marks KEY as done if CMD succeeds. Where it is marked already, CMD is not run. Who comes while " +
				"another is at it waits for the outcome: if that fails or dies, it is this one's turn.",
			"A mark counts until the next boot, until midnight of the machine's local time, or for ever. It is on disk before ipcctl ends, " +
				"and is yours: other users have their own.",
			"CMD's status is passed on, and signals are passed on to CMD. If ipcctl is killed, CMD goes on and keeps the lock, but nothing is marked.",
		},
		Options: []Option{
			{Long: "per", Value: "boot|day|ever", set: o.setPer, Help: "How long it counts as done: until the next boot, which is the default; the end of the day; or for ever"},
			number('E', "done-exit-code", "N", &o.conflict, 0, 255, "Exit with N, not 0, if it was done before"),
			flag(0, "forget", &o.forget, "Remove all marks of KEY instead"),
			o.status.option(),
		},
		Env: lockEnv,
		Examples: []Example{
			{"ipcctl once warm-cache -- ./warm-cache", "Whichever service starts first after a boot does it, the others wait for it."},
			{"ipcctl once --per=day report -- ./report", "From a timer that fires every hour: until it has succeeded once that day."},
			{"ipcctl once --per=ever migrate/42 -- ./migrate 42", "A step of an installation."},
		},
		Exits:   []int{exitData, exitDeadlock, exitNoLock, exitNoExec, exitNoCmd},
		words:   []string{"KEY"},
		least:   1,
		most:    1,
		grammar: wordsCommand,
		failed:  o.status.failed,
		run:     o.run,
	}
}

func (o *onceVerb) setPer(s string) error {
	if s != "boot" && s != "day" && s != "ever" {
		return expectation{what: "boot, day or ever"}
	}
	o.per = s
	return nil
}

func (o *onceVerb) run(c *call) error {
	key := c.words[0]
	if o.forget {
		return o.remove(c, key)
	}
	if c.command == nil {
		return unparsed("once", "CMD is missing").with(c.verb.usage())
	}
	if _, err := lookPath(c.command[0]); err != nil {
		return err
	}
	conn, err := c.dial3()
	if err != nil {
		return err
	}
	defer conn.Close()
	if done, err := o.done(c, conn, key); done || err != nil {
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
	if done, err := o.done(c, conn, key); done || err != nil {
		return giveBack(c, grants, who, err)
	}
	if err := o.runCommand(c, grants); err != nil {
		return err
	}
	if _, err := conn.Do("LOCK.DONE", key, tokenText(grants[0].Token), "PER", o.per); err != nil {
		return cannot("mark "+printable.Name(key)+" as done", err)
	}
	return nil
}

// done finds out whether there is a mark. The error is the status that -E gives then.
func (o *onceVerb) done(c *call, conn *ipc.Conn, key string) (bool, error) {
	mark, err := conn.Do("LOCK.ISDONE", key, "PER", o.per)
	if err != nil {
		return false, cannot("find out whether "+printable.Name(key)+" is done", err)
	}
	if mark.IsNull() {
		return false, nil
	}
	if c.verbose {
		c.say(printable.Name(key) + " was done at " + clock(time.UnixMicro(mark.Get("at").Int)) + " by pid " + mark.Get("pid").Text())
	}
	if o.conflict > 0 {
		return true, commandStatus(o.conflict)
	}
	return true, nil
}

// runCommand runs CMD as one more owner of the lock.
func (o *onceVerb) runCommand(c *call, grants []ipc.Hold) error {
	argv := append(self(c), "fence")
	var files []*os.File
	if o.status != 0 {
		argv = append(argv, "--status-fd=3")
		files = []*os.File{o.status.file()}
	}
	argv = append(append(argv, "--", grants[0].Name, tokenText(grants[0].Token), "--"), c.command...)
	k, err := startChild(argv[0], argv, lockEnvironment(os.Environ(), grants), files...)
	if err != nil {
		return err
	}
	return k.wait()
}

// remove is --forget.
func (o *onceVerb) remove(c *call, key string) error {
	if c.command != nil {
		return unparsed("--forget", "it runs no CMD").with(c.verb.usage())
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := conn.Do("LOCK.FORGET", key)
	if err != nil {
		return cannot("forget "+printable.Name(key), err)
	}
	if c.verbose {
		c.say("removed " + plural(n.Int, "mark") + " of " + printable.Name(key))
	}
	return nil
}
