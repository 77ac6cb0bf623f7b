package process

import (
	"os"
	"strings"
)

// builtins are commands that a shell has, between blanks, of which there is no program, or none that does the same.
const builtins = " . : alias bg break builtin case cd continue declare disown eval exec exit export fg for function if jobs let local popd " +
	"pushd read readonly return select set shift shopt source times trap type typeset ulimit umask unalias unset until wait while { ( ! "

// ForShell says why a word cannot be a program, though a shell makes something of it; "" if nothing is known of it.
func ForShell(name string) string {
	assigned, _, isAssignment := strings.Cut(name, "=")
	_, isFunction := os.LookupEnv("BASH_FUNC_" + name + "%%")
	switch {
	case isAssignment && assigned != "" && !strings.ContainsAny(assigned, "/ "):
		return "a shell sets variables so, and env"
	case !strings.Contains(name, " ") && strings.Contains(builtins, " "+name+" "):
		return "only a shell has it"
	case isFunction:
		return "it is a function of the shell"
	case strings.ContainsAny(name, " \t\n;|&<>"):
		return "it is a command line in one word"
	}
	return ""
}
