package record

import (
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// samples are records of all kinds, in which every field and every word of an enumeration is used. They are what testdata has in the
// format of today.
func samples() []Record {
	return append(samplesBefore(), Of(&Hold{Limit: 1, Claim: lockmgr.Claim{
		Request: lockmgr.Request{
			Name: "group", Bind: lockmgr.ToProcess, Units: 1, Info: lockmgr.Info{UID: 1000, GID: 100, Unit: "nightly.service"},
			Owner: lockmgr.Owner{Process: lockmgr.Process{PID: lockmgr.Group, Start: 1<<32 + 1}, Label: "/system.slice/nightly.service"},
		},
		ID: 1127, Token: 1027, Entries: 1, Since: lockmgr.Time{Boot: time.Hour, Real: 1795646133440238},
	}}), Of(retainedBefore()), Of(retainedWithHeaders()), Of(&Retained{
		Topic: "online/web1", Payload: "down", Seq: 817, Time: 1795646133440238, PID: 4711, Start: 815, UID: 1000, Ended: "killed 9",
	}), Of(willBefore()), Of(&Will{
		Topic: "online/web1", Then: ThenClear, Process: lockmgr.Process{PID: 4711, Start: 815}, Conn: 7,
	}), Of(&Will{Topic: "gone", Then: TellOnly, Payload: "\x00", Lasts: time.Hour, Process: lockmgr.Process{PID: 4712, Start: 815}}),
		Of(&Complete{}))
}

// willBefore is a will as there were before one could be over: also in will.1, of version 1.
func willBefore() *Will {
	return &Will{
		Topic: "online/web1", Payload: "down", Then: ThenRetain, Process: lockmgr.Process{PID: 4711, Start: 815}, UID: 1000, Unit: "web.service",
		Headers: []string{"reason", "\"lost\""},
	}
}

// retainedBefore is a value as there were before there were headers: also in retained.1, of version 1.
func retainedBefore() *Retained {
	return &Retained{
		Topic: "app/config", Payload: "a=\"1\"\n\x00\xff", Seq: 815, Time: 1795646133440238, Expires: time.Hour, PID: 4711, UID: 1000,
		Unit: "app.service",
	}
}

// retainedWithHeaders is a value as there were before there were wills: also in retained.2, of version 2.
func retainedWithHeaders() *Retained {
	return &Retained{
		Topic: "app/headers", Payload: "{}", Seq: 816, Time: 1795646133440238, Headers: []string{"content-type", "application/json", "note", `a "b"`},
	}
}

// samplesBefore are those that there were before cgroups could hold: also in rows.1, of version 1, and before.rows, of none.
func samplesBefore() []Record {
	owner := lockmgr.Owner{Process: lockmgr.Process{PID: 4711, Start: 815}, Label: "x"}
	operator := lockmgr.Owner{Label: "uid 1000"}
	info := lockmgr.Info{UID: 1000, GID: 100, Unit: "nightly.service", Why: "nightly <job> & \"more\"\\ …"}
	at := lockmgr.Time{Boot: 5*time.Minute + 7, Real: 1795646133440238}
	how := func(token lockmgr.Token, how lockmgr.How, status int) *lockmgr.End {
		return &lockmgr.End{Token: token, Owner: owner, Info: info, How: how, Status: status, At: at}
	}
	broken := how(21, lockmgr.Broken, 0)
	broken.By = &lockmgr.Party{Process: lockmgr.Process{PID: 12, Start: 34}, Info: lockmgr.Info{UID: 0, GID: 5, Unit: "ssh.service", Why: "by hand"}}
	unreaped := how(23, lockmgr.Unreaped, 0)
	unreaped.Before = how(22, lockmgr.Unreaped, 0)
	unreaped.Before.Before = how(20, lockmgr.Unreaped, 0)
	claim := func(name string, bind lockmgr.Binding, token lockmgr.Token) lockmgr.Claim {
		return lockmgr.Claim{
			Request: lockmgr.Request{Name: name, Bind: bind, Units: 1, Owner: owner, Info: info},
			ID:      lockmgr.RequestID(token + 100), Token: token, Entries: 1, Since: at,
		}
	}

	plain := claim("plain", lockmgr.ToProcess, 1)
	plain.Owner.Label, plain.Info = "", lockmgr.Info{}
	entered := claim("entered", lockmgr.ToProcess, 2)
	entered.Entries, entered.Untold, entered.Joined, entered.Units = 3, true, true, 2
	shared := claim("shared", lockmgr.ToProcess, 3)
	shared.Mode, shared.Units = lockmgr.Shared, 0
	leased := claim("leased", lockmgr.ToLease, 4)
	leased.Lease, leased.Expires = time.Hour, time.Hour+5*time.Minute+7
	standing := claim("operator/s", lockmgr.ToNobody, 5)
	standing.Owner, standing.Since.Boot = operator, -time.Hour
	told := claim("told", lockmgr.ToProcess, 24)
	told.Told = unreaped
	set := [2]lockmgr.Claim{claim("set/a", lockmgr.ToProcess, 25), claim("set/b", lockmgr.ToProcess, 26)}
	set[1].ID = set[0].ID
	command := func(previous *lockmgr.End) *Command {
		return &Command{
			ID: "\xff\xc1 \"not\" text\n", UID: 1000, Process: lockmgr.Process{PID: 4700, Start: 814}, Hash: 1<<64 - 2,
			Names: []string{"set/b", "set/a"}, Previous: previous,
		}
	}
	var all []Record
	for _, is := range []Body{
		&Mark{Token: 1<<53 - 1},
		&Hold{Claim: plain, Limit: 1},
		&Hold{Claim: entered, Limit: 5},
		&Hold{Claim: shared, Limit: 1},
		&Hold{Claim: leased, Limit: 1},
		&Hold{Claim: standing, Limit: 1},
		&Hold{Claim: told, Limit: 1},
		&Hold{Claim: set[0], Limit: 1, Command: command(how(6, lockmgr.Unknown, 0))},
		&Hold{Claim: set[1], Limit: 1, Command: command(how(7, lockmgr.Released, 0))},
		&Hold{Claim: claim("after/exit", lockmgr.ToProcess, 27), Limit: 1, Command: command(how(8, lockmgr.Exited, 3))},
		&Hold{Claim: claim("after/lease", lockmgr.ToProcess, 28), Limit: 1, Command: command(how(9, lockmgr.Expired, 0))},
		&Hold{Claim: claim("after/break", lockmgr.ToProcess, 29), Limit: 1, Command: command(broken)},
		&End{Lock: "killed", End: how(10, lockmgr.Killed, 9)},
		&End{Lock: "disconnected", End: how(11, lockmgr.Disconnected, 0)},
		&End{Lock: "unreaped", End: unreaped},
	} {
		all = append(all, Of(is))
	}
	return all
}
