package locks

import (
	"github.com/ipcd/ipcd/internal/session"
	"github.com/ipcd/ipcd/ipc/wire"
	"github.com/ipcd/ipcd/lockmgr"
)

// grants are what LOCK.ACQUIRE was granted.
type grants []lockmgr.Effect

// Append makes it an outcome.
func (g grants) Append(b []byte, p wire.Proto) []byte {
	if len(g) > 1 {
		return appendGrants(b, p, g)
	}
	return appendGrant(b, p, &g[0])
}

// granted is a grant for one moment: an effect of the present step.
type granted lockmgr.Effect

// Append makes it an outcome.
func (g *granted) Append(b []byte, p wire.Proto) []byte {
	return appendGrant(b, p, (*lockmgr.Effect)(g))
}

// Kept is it for longer.
func (g *granted) Kept() session.Outcome { return grants{lockmgr.Effect(*g)} }
