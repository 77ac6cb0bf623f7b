package session

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestKeyword(t *testing.T) {
	for word, want := range map[string]string{
		"EXPIRES": "EXPIRES", "expires": "EXPIRES", "eXpIrEs": "EXPIRES", "lib-ver": "LIB-VER", "self": "SELF", "ALL": "ALL",
		"": "", "EXPIRE": "", "EXPIRES ": "", "42": "", "[RETAIN]": "", "ſlow": "", "\x00": "", strings.Repeat("x", longestKeyword+1): "",
	} {
		if got := Keyword([]byte(word)); got != want {
			t.Errorf("%q is the keyword %q, want %q", word, got, want)
		}
	}
	for word := range keywords {
		if len(word) > longestKeyword || Keyword([]byte(strings.ToLower(word))) != word {
			t.Errorf("%q is not found", word)
		}
	}
}

// TestKeywordTakesNoMemory, be the word one or not, in whatever case.
func TestKeywordTakesNoMemory(t *testing.T) {
	words := [][]byte{[]byte("REPEATABLE"), []byte("Disconnect"), []byte("content-type"), []byte("1795401234567890"), []byte(strings.Repeat("x", 1000))}
	if n := testing.AllocsPerRun(100, func() {
		for _, word := range words {
			_ = Keyword(word)
		}
	}); n > 0 {
		t.Errorf("to read %d words allocates %v times", len(words), n)
	}
}

// TestKeywordsAreInTheTable: no command asks for a keyword that the command table does not have.
func TestKeywordsAreInTheTable(t *testing.T) {
	files, err := filepath.Glob("../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	asks := regexp.MustCompile(`(?m)^\s*case "[A-Z].*:$|(?:option|Keyword\([^)]*\)) [!=]= "[A-Z-]+"`)
	quoted := regexp.MustCompile(`"([A-Z-]+)"`)
	found := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") || !strings.Contains(string(text), ".Keyword(") {
			continue
		}
		for _, line := range asks.FindAllString(string(text), -1) {
			for _, word := range quoted.FindAllStringSubmatch(line, -1) {
				if found[word[1]] = true; keywords[word[1]] == "" {
					t.Errorf("%s asks for %s, which no command has in the command table", name, word[1])
				}
			}
		}
	}
	for _, word := range []string{"REPLIES", "GROUP", "LIB-VER", "ANCESTOR", "PER", "OPTOUT", "SETNAME"} {
		if !found[word] {
			t.Errorf("%s was not found", word)
		}
	}
}
