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
				"`ipcctl acquire --pid $$`, or that runs under `ipcctl lock`. If none does, what you keep by `ipcctl hold NAME`.",
			"Where several processes share a hold, because some entered the lock that they run under, one of them leaves it; it ends " +
				"with the last one. With `-t`, the whole hold ends: yours, or anybody's if you are root.",
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
	if !isToken(s) {
		return expectation{what: "a number from 1"}
	}
	r.token = s
	return nil
}

func (r *releaseVerb) run(c *call) error {
	if r.pid != 0 && r.token != "" {
		return unparsed("release", "--pid and --token exclude each other").with(c.verb.usage())
	}
	name := c.words[0]
	what := "release " + shown(name)
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	token, pid := r.token, int64(r.pid)
	if token == "" {
		info, err := conn.Do("LOCK.INFO", name)
		if err != nil {
			return cannot(what, err)
		}
		if token, pid = r.find(info); token == "" {
			return r.notHeld(name, info)
		}
	}
	words := []string{"LOCK.RELEASE", name, token}
	if pid != 0 {
		words = append(words, "PID", strconv.FormatInt(pid, 10))
	}
	if _, err := conn.Do(words...); err != nil {
		return cannot(what, err)
	}
	if c.verbose {
		c.say("released " + shown(name) + ", token " + token)
	}
	return nil
}

// find is the token of the hold that is meant, "" if there is none, and the process that leaves it, 0 for an operator's.
func (r *releaseVerb) find(info ipc.Value) (token string, pid int64) {
	if r.pid != 0 {
		p, _ := findProcess(int64(r.pid))
		return holdOf(info, &watched{process: p}), p.pid
	}
	for p := range ancestors(int64(os.Getppid())) {
		if token := holdOf(info, &watched{process: p}); token != "" {
			return token, p.pid
		}
	}
	return holdOf(info, &watched{label: operator()}), 0
}

func (r *releaseVerb) notHeld(name string, info ipc.Value) error {
	who := "no process that this one descends from holds it, nor do you by ipcctl hold"
	if r.pid != 0 {
		who = "that process does not hold it"
	}
	f := fail(exitNoLock, "cannot release "+shown(name)+": "+who)
	if h := info.Get("holders").Elems; len(h) > 0 {
		f.hint = "held by " + describeClaim(h[0]) + ": ipcctl release -t " + h[0].Get("token").Text() + " " + shown(name)
	}
	return f
}
