package verb

import "github.com/ipcd/ipcd/internal/cli/exit"

// A Verb is one row of the verb table. The parser, the help, the man page and the completions are made from it and from
// nothing else, so that they cannot disagree.
type Verb struct {
	Name     string
	Group    string   // heading in the overview; "" keeps the verb out of it
	Summary  string   // one line, no full stop
	Synopsis []string // what follows the name, a line for each form
	About    []string // paragraphs; `backquotes` mark what is typed
	Options  []Option
	Env      []Variable // what CMD finds in its environment
	Examples []Example
	Exits    []int // the statuses it may give besides those of every verb
	Local    bool  // it never talks to the daemon

	Words   []string // what its words are called; the last name stands for all that follow
	Least   int      // fewest words
	Most    int      // most words; many: no bound
	Grammar Grammar
	Failed  func(*exit.Failure) // tells a program that ipcctl itself failed, or nil
	Run     func(*Call) error
}

// Many is Verb.Most where there is no bound.
const Many = 1 << 30

// A Variable is one that CMD finds in its environment.
type Variable struct{ Name, Help string }

// An Example is a command line and what it is good for.
type Example struct{ Line, Help string }

// A Grammar says where a verb's options end and its CMD begins.
type Grammar uint8

// The grammars.
const (
	wordsOnly    Grammar = iota // options anywhere; after "--" every word is a word
	WordsCommand                // options anywhere; after "--" behind the words that there must be comes CMD
	NameCommand                 // options, NAME, options; the first other word, or "--", begins CMD
)

// word is what the nth word, from 0, is called.
func (v *Verb) word(n int) string {
	if len(v.Words) == 0 {
		return ""
	}
	return v.Words[min(n, len(v.Words)-1)]
}

// Usage is the verb's first form, as it is typed.
func (v *Verb) Usage() string { return "ipcctl " + Join(v.Name, v.Synopsis[0]) }

// Join puts a blank between two texts, if there are two.
func Join(a, b string) string {
	if b == "" {
		return a
	}
	return a + " " + b
}
