package cli

import (
	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/term"
	"github.com/ipcd/ipcd/internal/cli/verb"

	_ "embed"
	"strconv"
)

// the scripts

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

func completion() *verb.Verb {
	return &verb.Verb{
		Name:     "completion",
		Group:    "ipcctl itself",
		Summary:  "Print a script by which a shell completes ipcctl's arguments",
		Synopsis: []string{"bash|zsh|fish"},
		About: []string{
			"`make install` puts the scripts where the shells look for them. Without it, put the script there, or load it when " +
				"the shell starts. Names of locks and topics are completed with those that the daemon knows.",
		},
		Examples: []verb.Example{
			{Line: "source <(ipcctl completion bash)", Help: "In ~/.bashrc; in ~/.zshrc likewise with zsh, after compinit."},
			{Line: "ipcctl completion fish >~/.config/fish/completions/ipcctl.fish", Help: "For fish, once."},
		},
		Local: true,
		Words: []string{"SHELL"},
		Least: 1,
		Most:  1,
		Run: func(c *verb.Call) error {
			script := CompletionScript(c.Words[0])
			if script == "" {
				return exit.Unparsed(strconv.Quote(c.Words[0]), "no such shell").With(c.Verb.Usage())
			}
			c.Out.Text(term.Literal(script))
			return nil
		},
	}
}
