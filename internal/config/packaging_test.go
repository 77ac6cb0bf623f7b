package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// The files in packaging that come from the schema. "go test -update" writes them.
const (
	annotatedFile = "../../packaging/ipcd.toml"
	manualPage    = "../../packaging/man/ipcd.toml.5"
)

func TestGeneratedFiles(t *testing.T) {
	for path, want := range map[string]string{annotatedFile: annotated(), manualPage: manual()} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, readText(t, path)); diff != "" {
			t.Errorf("%s is not what the schema says; renew it with go test ./internal/config -update (-want +got):\n%s", path, diff)
		}
	}
}

// What the annotated file shows are all settings, with their defaults.
func TestAnnotatedFile(t *testing.T) {
	var b strings.Builder
	for line := range strings.Lines(readText(t, annotatedFile)) {
		if setting, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(setting, " ") && setting != "\n" {
			line = setting
		}
		b.WriteString(line)
	}
	var all map[string]any
	meta, err := toml.Decode(b.String(), &all)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range Default().tables() {
		for _, k := range table.keys {
			if !meta.IsDefined(append(strings.Split(table.name, "."), k.name)...) {
				t.Errorf("%s.%s is missing", table.name, k.name)
			}
		}
	}
	for name, text := range map[string]string{"as it is": readText(t, annotatedFile), "uncommented": b.String()} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"ipcd.toml": text})
		c, err := Load(filepath.Join(dir, "ipcd.toml"), true)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.Files = nil
		if diff := cmp.Diff(Default(), c); diff != "" {
			t.Errorf("%s it is not the default (-want +got):\n%s", name, diff)
		}
	}
}

func TestEverySettingIsExplained(t *testing.T) {
	for _, table := range Default().tables() {
		if !strings.HasSuffix(table.doc, ".") {
			t.Errorf("%s: %q is no sentence", table.name, table.doc)
		}
		for _, k := range table.keys {
			if !strings.HasSuffix(k.doc, ".") {
				t.Errorf("%s.%s: %q is no sentence", table.name, k.name, k.doc)
			}
		}
	}
}

func readText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// annotated is the file that an operator starts from.
func annotated() string {
	var b strings.Builder
	b.WriteString(`# The configuration of ipcd, see ipcd.toml(5).
#
# Each key is shown with its default: to set another value, remove the # before
# it. The files ipcd.conf.d/*.toml beside this one are read after it, in lexical
# order, and override it. A change takes effect at once, without a command; one
# to a socket does at the next start. While any of the files has a mistake, all
# of them are rejected and the settings stay as they were, also over a restart:
# the log, ipcctl status and systemctl status tell the file and line. To check
# the files before: ipcd --check-config
`)
	for _, t := range Default().tables() {
		fmt.Fprintf(&b, "\n%s[%s]\n", comment(t.doc), t.name)
		for _, k := range t.keys {
			fmt.Fprintf(&b, "\n%s#%s = %s\n", comment(k.doc), k.name, k.value)
		}
	}
	return b.String()
}

// comment wraps a sentence as a terminal shows it.
func comment(text string) string {
	var b strings.Builder
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 80 {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}

func manual() string {
	var b strings.Builder
	b.WriteString(`.TH IPCD.TOML 5 2026-11-25 ipcd "File Formats Manual"
.SH NAME
ipcd.toml \- configuration of the message bus and lock daemon ipcd
.SH SYNOPSIS
.I /etc/ipcd/ipcd.toml
.br
.I /etc/ipcd/ipcd.conf.d/*.toml
.SH DESCRIPTION
.BR ipcd (8)
reads these files, which are TOML.
All of them may be missing, and every key has a default, except the path of a socket other than
.BR main .
Drop\-ins are read after the main file, in lexical order. A later value of a key replaces an earlier one.
Hidden files, and those whose names do not end in
.IR .toml ,
are not read.
With
.B ipcd \-\-config
.IR DIR/FILE ,
the drop\-ins are those in
.IR DIR/ipcd.conf.d .
.PP
A change to the files takes effect at once, without a command, except where this page says that it waits for the next start.
The files are accepted or rejected as a whole. Unknown keys and impossible values are errors. While there is an error, the
daemon keeps the settings from before the change, also when it is started again: see
.BR ipcd (8).
.B systemctl reload ipcd
waits for the outcome, and
.B ipcctl raw IPCD.RELOAD
shows the errors;
.B ipcd \-\-check\-config
shows them without a daemon.
`)
	for _, t := range Default().tables() {
		fmt.Fprintf(&b, ".SH [%s]\n%s\n", roff(t.name), roff(t.doc))
		if t.restart {
			b.WriteString("A change takes effect at the next start.\n")
		}
		for _, k := range t.keys {
			fmt.Fprintf(&b, ".TP\n.B %s = %s\n%s\n", roff(k.name), roff(k.value.String()), roff(k.doc))
		}
	}
	b.WriteString(`.SH VALUES
A size is a number of bytes, or a string of a number and one of the units B, kB, MB, GB, KiB, MiB and GiB.
A time is a string such as "50us", "300ms", "5min", "2h30m" or "1d".
.SH LIMITS
A file has at most 256 KiB, all together have 1 MiB, and there are at most 100 drop\-ins.
A key has at most 8 names and 512 bytes, those of its table included.
A file must be a regular one. If the files cannot be read within 5 seconds, as on a file system that does not answer, that is
an error.
.SH EXAMPLE
.I /etc/ipcd/ipcd.conf.d/limits.toml
.PP
.nf
[limits]
connections_per_user = 500
input = "4MiB"
output = "32MiB"
.fi
.SH SEE ALSO
.BR ipcctl (1),
.BR ipcd (8)
`)
	return b.String()
}

// roff protects what roff takes for its own.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, `"`, `\(dq`).Replace(text)
}
