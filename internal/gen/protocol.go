package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A section of docs/protocol.md stands between two comments that name it. What stands elsewhere is written by hand.
type section struct {
	name string
	text string
}

// skeleton is the document when there is none yet.
const skeleton = "# The protocol\n\n## Commands\n\n" +
	"<!-- generated: commands -->\n<!-- end: commands -->\n\n## Errors\n\n" +
	"<!-- generated: codes -->\n<!-- end: codes -->\n"

// renewProtocol returns the document at path with its generated sections as the tables are now.
func renewProtocol(path string) (string, error) {
	text := skeleton
	if b, err := os.ReadFile(path); err == nil {
		text = string(b)
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, s := range []section{{"commands", commandTables()}, {"codes", codeTable()}} {
		var err error
		if text, err = s.replace(text); err != nil {
			return "", fmt.Errorf("cannot renew %s: %w", path, err)
		}
	}
	return text, nil
}

func (s section) replace(text string) (string, error) {
	first, last := "<!-- generated: "+s.name+" -->\n", "<!-- end: "+s.name+" -->"
	before, rest, found := strings.Cut(text, first)
	if !found {
		return "", fmt.Errorf("it has no line %q", strings.TrimSpace(first))
	}
	_, after, found := strings.Cut(rest, last)
	if !found {
		return "", fmt.Errorf("it has no line %q", last)
	}
	return before + first + "\n" + s.text + "\n" + last + after, nil
}

var families = []struct {
	family wire.Family
	title  string
}{
	{wire.FamilyBus, "The bus"},
	{wire.FamilyLock, "Locks"},
	{wire.FamilyAdmin, "The daemon"},
	{wire.FamilyRedis, "Redis's own"},
}

func commandTables() string {
	var b strings.Builder
	for i, f := range families {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "### %s\n", f.title)
		for _, c := range wire.Commands {
			if c.Family == f.family {
				describeCommand(&b, &c)
			}
		}
	}
	return b.String()
}

func describeCommand(b *strings.Builder, c *wire.Command) {
	fmt.Fprintf(b, "\n#### `%s`\n\n%s.\n\n", strings.TrimSpace(c.Name+" "+c.Args), c.Summary)
	fmt.Fprintf(b, "- Reply: %s\n", c.Reply)
	if len(c.Errors) > 0 {
		var codes []string
		for _, code := range c.Errors {
			codes = append(codes, string(code))
		}
		fmt.Fprintf(b, "- Errors: %s\n", strings.Join(codes, ", "))
	}
	var traits []string
	if c.Flags&wire.FlagBlocks != 0 {
		traits = append(traits, "may wait, and then holds up this connection's later commands")
	}
	if c.Flags&wire.FlagSubscribed != 0 {
		traits = append(traits, "allowed on a RESP2 connection that has subscriptions")
	}
	if c.Access == wire.AccessAdmin {
		traits = append(traits, "for root and the user that the daemon runs as")
	}
	if len(traits) > 0 {
		t := strings.Join(traits, "; ")
		fmt.Fprintf(b, "- %s%s\n", strings.ToUpper(t[:1]), t[1:])
	}
	if c.Note != "" {
		label := "Note"
		if c.Family == wire.FamilyRedis {
			label = "Unlike Redis"
		}
		fmt.Fprintf(b, "- %s: %s\n", label, c.Note)
	}
}

func codeTable() string {
	var b strings.Builder
	b.WriteString("| Code | Meaning | ipcctl's exit status | Worth a retry | Ends the connection |\n|---|---|---|---|---|\n")
	yes := map[bool]string{true: "yes", false: ""}
	for _, c := range wire.Codes {
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s |\n", c.Code, c.Summary, c.Exit, yes[c.Retry], yes[c.Closes])
	}
	return b.String()
}
