package cli

import (
	"os"
	"strconv"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/verb"
)

type holdVerb struct {
	request
	until  time.Time
	period verb.Span
}

func hold() *verb.Verb {
	h := holdVerb{request: request{conflict: unset, mode: exclusive}}
	return &verb.Verb{
		Name:     "hold",
		Group:    "Locks",
		Summary:  "Keep a lock for yourself, for maintenance",
		Synopsis: []string{"[-w D] -m TEXT [--until=TIME|--for=D] NAME"},
		About: []string{
			"Waits for its turn, takes the lock NAME, and ends: no process is bound to the hold. It lasts until you say `ipcctl " +
				"release NAME`, until TIME, or for the time D from its beginning. It survives your logout, a restart of the daemon " +
				"and a reboot.",
			"Everybody who waits for the lock, or looks at it, sees who holds it and why.",
			"TIME is 18:00 (today, or else tomorrow), or written as 2026-08-01T18:00:00+02:00.",
		},
		Options: []verb.Option{
			verb.Text('m', "why", "TEXT", &h.why, "The reason, shown to those who wait"),
			{Long: "until", Value: "TIME", Set: h.setUntil, Help: "The hold ends by itself at this time"},
			verb.Duration(0, "for", &h.period, "The hold ends by itself after this time; `ipcctl renew` makes it last longer"),
			verb.Duration('w', "timeout", &h.timeout, "Fail with 124 after waiting this long; with `-w 0`, fail with 75 rather than wait").Or("wait"),
		},
		Examples: []verb.Example{
			{Line: "ipcctl hold backup --why 'new disk' --until 18:00 && { ./swap-disk; ipcctl release backup; }", Help: "No backup meanwhile, whatever happens to this shell."},
			{Line: "ipcctl hold backup -m 'new disk' --for 2h", Help: "It ends by itself, should it be forgotten."},
			{Line: "ipcctl hold deploy -m freeze", Help: "Nobody deploys until it is released."},
		},
		Exits: append([]int{}, requestExits...),
		Words: []string{"NAME"},
		Least: 1,
		Most:  1,
		Run:   h.run,
	}
}

func (h *holdVerb) run(c *verb.Call) error {
	name := c.Words[0]
	if h.why == "" {
		return exit.Unparsed("hold", "--why is missing: those who wait will want to know").With(c.Verb.Usage())
	}
	switch {
	case h.period.Set && !h.until.IsZero():
		return exit.Unparsed("hold", "--until and --for exclude each other").With(c.Verb.Usage())
	case h.period.Set && h.period.D <= 0:
		return exit.Unparsed("--for", "a hold lasts some time").With(c.Verb.Usage())
	case h.period.Set:
		h.lease = h.period
	case !h.until.IsZero():
		h.lease = verb.Span{Set: true, D: max(time.Until(h.until), 1)}
	}
	grants, err := h.take(c, []string{name}, holder{bound: "nobody", pidfd: -1, label: operator()})
	if err != nil {
		return err
	}
	sayGranted(c, grants)
	return nil
}

// operator is the owner of what this user holds by hold.
func operator() string { return "uid " + strconv.Itoa(os.Geteuid()) }

func (h *holdVerb) setUntil(s string) error {
	t, ok := parseTime(s, time.Now())
	if !ok {
		return verb.Expectation{What: "a time to come", Examples: "18:00, 2026-08-01T18:00:00+02:00"}
	}
	h.until = t
	return nil
}

// parseTime understands the time of a day, the next such one after now, and RFC 3339. A time that is over is refused.
func parseTime(s string, now time.Time) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, t.After(now)
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		clock, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		year, month, day := now.Date()
		at := func(day int) time.Time {
			return time.Date(year, month, day, clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
		}
		if t := at(day); t.After(now) {
			return t, true
		}
		return at(day + 1), true
	}
	return time.Time{}, false
}
