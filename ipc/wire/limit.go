package wire

// What the commands about locks may say at most. Programs need not check it: the daemon does, and its error names the limit.
const (
	MaxLockName = 200       // bytes of a lock's name; then the topics of its events are no longer than topics are
	MaxLockText = 256       // bytes of WHY and of OWNER
	MaxUnits    = 1_000_000 // units of a lock: LIMIT and UNITS
	MaxSet      = 32        // locks that are asked for at once: the name and those of AND
	MaxShown    = 64        // holds that are shown: WITH
)
