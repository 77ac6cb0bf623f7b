package record

import (
	"slices"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// What several kinds are made of. Times are CLOCK_BOOTTIME in nanoseconds, "…-real" those of the day in microseconds since 1970.

var modes = []string{lockmgr.Exclusive: "exclusive", lockmgr.Shared: "shared"}

// bindings are those with which something outlives the daemon.
var bindings = []string{lockmgr.ToProcess: "process", lockmgr.ToLease: "lease", lockmgr.ToNobody: "nobody"}

var hows = []string{
	lockmgr.Unknown: "unknown", lockmgr.Released: "released", lockmgr.Exited: "exited", lockmgr.Killed: "killed",
	lockmgr.Disconnected: "disconnected", lockmgr.Expired: "expired", lockmgr.Broken: "broken", lockmgr.Unreaped: "unreaped",
}

var processFields = []field[lockmgr.Process]{
	number("pid", func(p *lockmgr.Process) *int { return &p.PID }),
	number("start", func(p *lockmgr.Process) *uint64 { return &p.Start }),
}

var ownerFields = slices.Concat(
	of(processFields, func(o *lockmgr.Owner) *lockmgr.Process { return &o.Process }),
	[]field[lockmgr.Owner]{text("owner", func(o *lockmgr.Owner) *string { return &o.Label })},
)

var infoFields = []field[lockmgr.Info]{
	number("uid", func(i *lockmgr.Info) *uint32 { return &i.UID }),
	number("gid", func(i *lockmgr.Info) *uint32 { return &i.GID }),
	text("unit", func(i *lockmgr.Info) *string { return &i.Unit }),
	text("why", func(i *lockmgr.Info) *string { return &i.Why }),
}

var partyFields = slices.Concat(
	of(processFields, func(p *lockmgr.Party) *lockmgr.Process { return &p.Process }),
	of(infoFields, func(p *lockmgr.Party) *lockmgr.Info { return &p.Info }),
)

// endFields say how a hold ended. One end may have another in it.
var endFields = slices.Concat(
	[]field[lockmgr.End]{
		word("how", hows, func(e *lockmgr.End) *lockmgr.How { return &e.How }),
		number("status", func(e *lockmgr.End) *int { return &e.Status }),
		number("token", func(e *lockmgr.End) *lockmgr.Token { return &e.Token }),
		number("at", func(e *lockmgr.End) *time.Duration { return &e.At.Boot }),
		number("at-real", func(e *lockmgr.End) *int64 { return &e.At.Real }),
	},
	of(ownerFields, func(e *lockmgr.End) *lockmgr.Owner { return &e.Owner }),
	of(infoFields, func(e *lockmgr.End) *lockmgr.Info { return &e.Info }),
	[]field[lockmgr.End]{group("by", &partyFields, func(e *lockmgr.End) **lockmgr.Party { return &e.By })},
)

func init() {
	endFields = append(endFields, group("before", &endFields, func(e *lockmgr.End) **lockmgr.End { return &e.Before }))
}
