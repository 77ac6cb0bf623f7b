package ipc

import "github.com/ipcd/ipcd/ipc/wire"

// An Error is an error reply of the daemon: a [wire.Code], by which programs decide, and a text for people. For the usual codes
// there are values to compare with: errors.Is(err, ErrBusy).
type Error = wire.Error

// For errors.Is.
var (
	ErrBusy     = &Error{Code: wire.CodeBusy}
	ErrTimeout  = &Error{Code: wire.CodeTimeout}
	ErrDeadlock = &Error{Code: wire.CodeDeadlock}
	ErrDenied   = &Error{Code: wire.CodeDenied}
	ErrNoLock   = &Error{Code: wire.CodeNoLock}
	ErrStale    = &Error{Code: wire.CodeStale}
	ErrQuota    = &Error{Code: wire.CodeQuota}
	ErrBadName  = &Error{Code: wire.CodeBadName}
	ErrNotFound = &Error{Code: wire.CodeNotFound}
	ErrShutdown = &Error{Code: wire.CodeShutdown}
	ErrLimit    = &Error{Code: wire.CodeLimit}
	ErrRemote   = &Error{Code: wire.CodeRemote}

	ErrNoResponders = &Error{Code: wire.CodeNoResponders}
)
