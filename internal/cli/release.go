package cli

import (
	"os"
	"strconv"

	"github.com/ipcd/ipcd/ipc"
)

type releaseVerb struct {
	pid   int
	token string
}

func release() *Verb {
	var r releaseVerb
	return &Verb{
		Name:     "release",
		Group:    "Locks",
		Summary:  "Give a lock back",
		Synopsis: []string{"[-p PID|-t TOKEN] NAME"},
		About: []string{
			"Gives back the lock NAME that the nearest of this process's ancestors holds: the script that took it with " +
				"`ipcctl acquire --pid $$`, or that runs under `ipcctl lock`.",
		},
		Options: []Option{
			number('p', "pid", "PID", &r.pid, 1, many, "Give back what this process holds"),
			{Short: 't', Long: "token", Value: "TOKEN", set: r.setToken, Help: "Give back the hold that has this token"},
		},
		Examples: []Example{
			{"ipcctl release deploy", "At the end of the part of a script that must not run twice."},
		},
		Exits: []int{exitData, exitNoLock},
		words: []string{"NAME"},
		least: 1,
		most:  1,
		run:   r.run,
	}
}

func (r *releaseVerb) setToken(s string) error {
	if n, err := strconv.ParseUint(s, 10, 63); err != nil || n == 0 {
		return expectation{what: "a number from 1"}
	}
	r.token = s
	return nil
}

func (r *releaseVerb) run(c *call) error {
	name := c.words[0]
	what := "release " + shown(name)
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	token := r.token
	if token == "" {
		info, err := conn.Do("LOCK.INFO", name)
		if err != nil {
			return cannot(what, err)
		}
		if token = r.find(info); token == "" {
			return r.notHeld(name, info)
		}
	}
	if _, err := conn.Do("LOCK.RELEASE", name, token); err != nil {
		return cannot(what, err)
	}
	if c.verbose {
		c.say("released " + shown(name) + ", token " + token)
	}
	return nil
}

// find is the token of the hold that is meant, or "".
func (r *releaseVerb) find(info ipc.Value) string {
	if r.pid != 0 {
		p, _ := findProcess(int64(r.pid))
		return holdOf(info, p)
	}
	for pid := int64(os.Getppid()); pid > 0; {
		p, ok := findProcess(pid)
		if !ok {
			return ""
		}
		if token := holdOf(info, p); token != "" {
			return token
		}
		pid = p.parent
	}
	return ""
}

func (r *releaseVerb) notHeld(name string, info ipc.Value) error {
	who := "no process above this one holds it"
	if r.pid != 0 {
		who = "that process does not hold it"
	}
	f := fail(exitNoLock, "cannot release "+shown(name)+": "+who)
	if h := info.Get("holders").Elems; len(h) > 0 {
		f.hint = "held by " + describeClaim(h[0]) + ": ipcctl release -t " + h[0].Get("token").Text() + " " + shown(name)
	}
	return f
}
