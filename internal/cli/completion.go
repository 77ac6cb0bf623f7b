package cli

import (
	_ "embed" // the scripts
	"strconv"
)

//go:embed completion.bash
var bashScript string

//go:embed completion.zsh
var zshScript string

//go:embed completion.fish
var fishScript string

// shells are those that CompletionScript knows.
var shells = []string{"bash", "zsh", "fish"}

// CompletionScript is what makes a shell complete ipcctl's command line, "" for a shell that is not known. The scripts
// are thin: each asks ipcctl what may come next, and ipcctl reads it off the verb table.
func CompletionScript(shell string) string {
	switch shell {
	case "bash":
		return bashScript
	case "zsh":
		return zshScript
	case "fish":
		return fishScript
	}
	return ""
}

func completion() *Verb {
	return &Verb{
		Name:     "completion",
		Group:    "ipcctl itself",
		Summary:  "Print a script that makes a shell complete ipcctl",
		Synopsis: []string{"bash|zsh|fish"},
		About: []string{
			"A package of ipcd brings the scripts along. Without one, put the script where the shell looks for it, or have it read at the start. " +
				"Names of locks and topics are completed with what the daemon knows.",
		},
		Examples: []Example{
			{"source <(ipcctl completion bash)", "In ~/.bashrc; in ~/.zshrc likewise with zsh, after compinit."},
			{"ipcctl completion fish >~/.config/fish/completions/ipcctl.fish", "For fish, once."},
		},
		Local: true,
		words: []string{"SHELL"},
		least: 1,
		most:  1,
		run: func(c *call) error {
			script := CompletionScript(c.words[0])
			if script == "" {
				return unparsed(strconv.Quote(c.words[0]), "no such shell").with(c.verb.usage())
			}
			c.out.text(literal(script))
			return nil
		},
	}
}
