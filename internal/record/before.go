package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ipcd/ipcd/lockmgr"
)

// Before records had kinds, a row of the journal was the JSON of Go's structures as they were then, with their fields' names and
// the numbers of their constants. It is read as long as a daemon that wrote it may be upgraded while the machine runs. The
// types and tables here say what that format was, and never change.

type (
	beforeRow struct {
		Lock      string
		Owner     *beforeOwner
		Hold      *beforeHold
		Limit     int
		Request   *beforeRequest
		Abandoned *beforeEnd
		Mark      uint64
	}
	beforeProcess struct {
		PID   int
		Start uint64
	}
	beforeOwner struct {
		Process beforeProcess
		Label   string
	}
	beforeInfo struct {
		UID, GID  uint32
		Unit, Why string
	}
	beforeTime struct {
		Boot time.Duration
		Real int64
	}
	beforeHold struct {
		Name    string
		Mode    int
		Bind    int
		Units   int
		Owner   beforeOwner
		Lease   time.Duration
		Untold  bool
		ID      uint64
		Token   uint64
		Joined  bool
		Entries int
		Since   beforeTime
		Expires time.Duration
		Told    *beforeEnd
		beforeInfo
	}
	beforeRequest struct {
		ID       []byte
		UID      uint32
		Process  beforeProcess
		Command  uint64
		Names    []string
		Previous *beforeEnd
	}
	beforeEnd struct {
		Token  uint64
		Owner  beforeOwner
		How    int
		Status int
		At     beforeTime
		By     *beforeParty
		Before *beforeEnd
		beforeInfo
	}
	beforeParty struct {
		Process beforeProcess
		beforeInfo
	}
)

var (
	beforeModes = map[int]lockmgr.Mode{0: lockmgr.Exclusive, 1: lockmgr.Shared}
	beforeBinds = map[int]lockmgr.Binding{1: lockmgr.ToProcess, 2: lockmgr.ToLease, 3: lockmgr.ToNobody}
	beforeHows  = map[int]lockmgr.How{
		0: lockmgr.Unknown, 1: lockmgr.Released, 2: lockmgr.Exited, 3: lockmgr.Killed,
		4: lockmgr.Disconnected, 5: lockmgr.Expired, 6: lockmgr.Broken, 7: lockmgr.Unreaped,
	}
)

func decodeBefore(text []byte) (Body, error) {
	var row beforeRow
	if err := json.Unmarshal(text, &row); err != nil {
		return nil, err
	}
	switch {
	case row.Lock == "" && row.Mark != 0:
		return &Mark{lockmgr.Token(row.Mark)}, nil
	case row.Hold != nil && row.Owner != nil:
		return row.hold()
	case row.Abandoned != nil && row.Owner == nil:
		end, err := row.Abandoned.now()
		if err != nil {
			return nil, err
		}
		return &End{row.Lock, end}, nil
	}
	return nil, errors.New("it has no record in it")
}

func (row *beforeRow) hold() (Body, error) {
	was := row.Hold
	if was.Name != row.Lock || was.Owner != *row.Owner {
		return nil, fmt.Errorf("the hold is of %q, by %v", was.Name, was.Owner.now())
	}
	mode, ok := beforeModes[was.Mode]
	bind, ok2 := beforeBinds[was.Bind]
	if !ok || !ok2 {
		return nil, fmt.Errorf("the hold has mode %d and binding %d", was.Mode, was.Bind)
	}
	told, err := was.Told.now()
	if err != nil {
		return nil, err
	}
	h := &Hold{
		Claim: lockmgr.Claim{
			Request: lockmgr.Request{
				Name: was.Name, Mode: mode, Bind: bind, Units: was.Units, Owner: was.Owner.now(), Lease: was.Lease, Untold: was.Untold,
				Info: lockmgr.Info(was.beforeInfo),
			},
			ID: lockmgr.RequestID(was.ID), Token: lockmgr.Token(was.Token), Joined: was.Joined, Entries: was.Entries,
			Since: lockmgr.Time(was.Since), Expires: was.Expires, Told: told,
		},
		Limit: row.Limit,
	}
	if r := row.Request; r != nil {
		previous, err := r.Previous.now()
		if err != nil {
			return nil, err
		}
		h.Command = &Command{
			ID: string(r.ID), UID: r.UID, Process: lockmgr.Process(r.Process), Hash: r.Command, Names: r.Names, Previous: previous,
		}
	}
	return h, nil
}

func (o *beforeOwner) now() lockmgr.Owner {
	return lockmgr.Owner{Process: lockmgr.Process(o.Process), Label: o.Label}
}

func (e *beforeEnd) now() (*lockmgr.End, error) {
	if e == nil {
		return nil, nil
	}
	how, ok := beforeHows[e.How]
	if !ok {
		return nil, fmt.Errorf("a hold ended in way %d", e.How)
	}
	before, err := e.Before.now()
	if err != nil {
		return nil, err
	}
	end := &lockmgr.End{
		Token: lockmgr.Token(e.Token), Owner: e.Owner.now(), Info: lockmgr.Info(e.beforeInfo), How: how, Status: e.Status,
		At: lockmgr.Time(e.At), Before: before,
	}
	if e.By != nil {
		end.By = &lockmgr.Party{Process: lockmgr.Process(e.By.Process), Info: lockmgr.Info(e.By.beforeInfo)}
	}
	return end, nil
}
