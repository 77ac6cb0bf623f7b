package cli

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

type acquireVerb struct {
	request
	pid   int
	print bool
}

func acquire() *Verb {
	a := acquireVerb{request: request{conflict: unset}}
	return &Verb{
		Name:     "acquire",
		Group:    "Locks",
		Summary:  "Take a lock for a process that runs already",
		Synopsis: []string{"[-s] [-n] [-w D] [-E N] [-m TEXT] [-t] -p PID NAME"},
		About: []string{
			"Waits for its turn and takes the lock NAME for the process PID, mostly `$$`: the shell script itself. The lock " +
				"is held from there on until `ipcctl release NAME` or the end of that process, however it ends. This is what " +
				"replaces flock(1) with a descriptor.",
			"Only your own processes; root: any.",
		},
		Options: append(a.options(),
			number('p', "pid", "PID", &a.pid, 1, many, "The process that is to hold the lock"),
			flag('t', "print-token", &a.print, "Print the fencing token: higher than that of every hold before"),
		),
		Examples: []Example{
			{"ipcctl acquire --pid $$ deploy", "The rest of the script runs under the lock."},
			{"token=$(ipcctl acquire -t -p $$ report)", "Take a lock, and its token."},
		},
		Exits: append(append([]int{}, requestExits...), exitNotFound),
		words: []string{"NAME"},
		least: 1,
		most:  1,
		run:   a.run,
	}
}

func (a *acquireVerb) run(c *call) error {
	name := c.words[0]
	if a.pid == 0 {
		return unparsed("acquire", "--pid is missing").with("ipcctl acquire --pid $$ " + shown(name))
	}
	pidfd, err := unix.PidfdOpen(a.pid, 0)
	if err != nil {
		exit := exitOS
		if errors.Is(err, unix.ESRCH) {
			exit = exitNotFound
		}
		return fail(exit, "cannot find process "+strconv.Itoa(a.pid)+": "+reason(err))
	}
	defer unix.Close(pidfd)
	grant, err := a.take(c, name, a.pid, pidfd)
	if err != nil {
		return err
	}
	if c.verbose {
		c.say(describeGrant(grant))
	}
	switch {
	case c.json:
		var o object
		for _, key := range []string{"name", "token", "mode", "previous", "abandoned"} {
			o.value(key, grant.Get(key))
		}
		c.out.object(&o)
	case a.print:
		c.out.text(grant.Get("token").Text() + "\n")
	}
	return nil
}
