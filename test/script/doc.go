// Package script runs ipcctl as users do: each *.txtar file is a script (see testscript's documentation for its
// language) against a daemon of its own. There is one for each verb, which shows every exit status that the verb can
// give, and one for each trap of flock(1), which shows that ipcctl does not have it.
//
// What the scripts can do besides testscript's own commands:
//
//	daemon [FILE]           start ipcd, with the configuration in FILE, and have ipcctl talk to it; it ends with the script
//	daemon stop             end it now; "daemon kill" does it with SIGKILL
//	daemon start            start it again, with all that it left behind
//	answer FILE             be a daemon that sends what is in FILE (\r\n for line breaks) to whoever sends something
//	status N CMD…           run CMD, which must end with status N, 128+S if signal S killed it
//	until CMD…              run CMD until it succeeds; in a shell script: await CMD…
//	tty [-c TEXT] N CMD…    like status, on a terminal, whose output is CMD's stdout; press Ctrl-C when TEXT appears
//	hold [OPT…] NAME        hold a lock, in the background, until "free NAME", or the end of the daemon
//	free NAME               end hold, and return when the lock is free
//	queued NAME N           return when N wait for a lock
//	holder VAR NAME         set VAR to the pid that holds a lock
//	abandon NAME            take a lock, be cut off, and return when it is free
//	documented FILE         the JSON on stdout has no key that FILE does not explain
//	[linux:6.15] CMD…       CMD where the kernel is that, or newer
//	chars VAR TEXT          set VAR to TEXT, in which \n, \x1b, \u202e and the like stand for what they are in Go
//	plain N CMD…            like status, twice: as it is, and on a terminal. Neither way it shows anything that is not printable
//	plain                   the last command has shown nothing that is not printable
//	root                    skip the script unless root runs it
//	namespaces              skip the script where the kernel does not allow to make namespaces
//	cgroups                 make a cgroup, $CGROUP, or skip the script where that is not allowed
//	mkcgroup NAME           make one in it; rmcgroup NAME removes it, when its last process has ended
//	exec incgroup NAME CMD… run CMD in it
//
// Nothing sleeps: "ipcctl wait FILTER -- CMD" listens before CMD starts, "until ipcctl pub -e 1 …" publishes exactly once
// somebody listens.
package script
