// Package process is what ipcctl does with processes: it finds programs, becomes one of them, starts one as its child or one for each
// message, passes signals on, dies of a signal, and looks at the processes of others in /proc.
//
// ipcctl lives for about a millisecond, and may be started where hardly a descriptor is left. So what is here avoids the standard
// library where that would set up more than is needed: os/exec, os/user, the poller of the runtime.
package process
