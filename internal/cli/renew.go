package cli

import (
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type renewVerb struct {
	lease verb.Span
	token string
}

func renew() *verb.Verb {
	var r renewVerb
	return &verb.Verb{
		Name:     "renew",
		Group:    "Locks",
		Summary:  "Make a lease last longer",
		Synopsis: []string{"[-L D] [-t TOKEN] NAME"},
		About: []string{
			"Makes the lease of a hold on the lock NAME end D from now; without `-L`, as long from now as it was given last. " +
				"Work under `ipcctl acquire -L` or `ipcctl hold --for` so says that it is still going on.",
			"Without `-t`, it renews the hold that it runs under ($IPC_LOCKS), or else the only one of your user that has a " +
				"lease.",
			"Under `ipcctl lock -L` it is not needed: ipcctl renews the lease itself.",
		},
		Options: []verb.Option{
			leaseOption(&r.lease, "The lease ends this long from now"),
			tokenOption(&r.token, "The hold that has this token"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl renew -t $token tape", Help: "Between two steps of what was begun with `token=$(ipcctl acquire -t -L 30m tape)`."},
			{Line: "ipcctl renew -L 4h backup", Help: "The new disk takes longer."},
		},
		Exits: []int{exit.Data, exit.NoLock},
		Words: []string{"NAME"},
		Least: 1,
		Most:  1,
		Run:   r.run,
	}
}

// leaseOption is -L.
func leaseOption(to *verb.Span, help string) verb.Option {
	o := verb.Duration('L', "lease", to, help)
	parse := o.Set
	o.Set = func(s string) error {
		if err := parse(s); err != nil {
			return err
		}
		if to.D <= 0 {
			return verb.Expectation{What: "a duration above 0"}
		}
		return nil
	}
	return o
}

// tokenOption is -t, for a verb that says which hold is meant.
func tokenOption(to *string, help string) verb.Option {
	return verb.Option{Short: 't', Long: "token", Value: "TOKEN", Help: help, Set: func(s string) error {
		if _, ok := parseToken(s); !ok {
			return verb.Expectation{What: "a number from 1"}
		}
		*to = s
		return nil
	}}
}

func (r *renewVerb) run(c *verb.Call) error {
	name := c.Words[0]
	conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if r.token == "" {
		if r.token, err = leasedToken(conn, name); err != nil {
			return err
		}
	}
	lasts, err := renewLease(conn, name, r.token, r.lease)
	if err != nil {
		return exit.Cannot("renew "+printable.Name(name), err)
	}
	if c.Verbose {
		c.Say("renewed " + printable.Name(name) + ", token " + r.token + ", for " + term.Spoken(lasts))
	}
	return nil
}

// renewLease has a lease end so long after now, or as long as it had, and gives how long that is.
func renewLease(conn *ipc.Conn, name, token string, lease verb.Span) (time.Duration, error) {
	words := []string{"LOCK.RENEW", name, token}
	if lease.Set {
		words = append(words, "LEASE", strconv.FormatInt(int64((lease.D+time.Millisecond-1)/time.Millisecond), 10))
	}
	v, err := conn.Do(words...)
	return time.Duration(v.Int) * time.Millisecond, err
}

// leasedToken is the token of the hold that is meant by who gives none.
func leasedToken(conn *ipc.Conn, name string) (string, error) {
	inherited := ipc.InheritedHolds()
	for _, h := range slices.Backward(inherited) {
		if h.Name == name {
			return tokenText(h.Token), nil
		}
	}
	v, err := viewLock(conn, name)
	if err != nil {
		return "", exit.Cannot("renew "+printable.Name(name), err)
	}
	var mine []*claim
	for i := range v.holders {
		if h := &v.holders[i]; h.UID == os.Geteuid() && h.Left >= 0 && !h.Joined {
			mine = append(mine, h)
		}
	}
	f := exit.Fail(exit.NoLock, "cannot renew "+printable.Name(name)+": you have no lease of it")
	switch {
	case len(mine) == 1:
		return tokenText(mine[0].Token), nil
	case len(mine) > 1:
		f = exit.Fail(exit.Usage, "cannot renew "+printable.Name(name)+": you have several leases of it: say which by its token").With("ipcctl locks -v " + printable.Name(name))
	case len(v.holders) > 0:
		f.Hint = describeHolders(v)
	}
	return "", f
}
