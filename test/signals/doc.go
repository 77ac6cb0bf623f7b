// Package signals holds ipcctl, as make builds it, to what it promises of signals: CMD gets those that ipcctl got, ignored,
// blocked or sent, as if there were no ipcctl.
package signals
