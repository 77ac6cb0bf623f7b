package cli

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

	words   []string // what its words are called; the last name stands for all that follow
	least   int      // fewest words
	most    int      // most words; many: no bound
	grammar grammar
	failed  func(*failure) // tells a program that ipcctl itself failed, or nil
	run     func(*call) error
}

// many, as Verb.most, sets no bound.
const many = 1 << 30

// A Variable is one that CMD finds in its environment.
type Variable struct{ Name, Help string }

// An Example is a command line and what it is good for.
type Example struct{ Line, Help string }

// A grammar says where a verb's options end and its CMD begins.
type grammar uint8

const (
	wordsOnly    grammar = iota // options anywhere; after "--" every word is a word
	wordsCommand                // options anywhere; after "--" behind the words that there must be comes CMD
	nameCommand                 // options, NAME, options; the first other word, or "--", begins CMD
)

// word is what the nth word, from 0, is called.
func (v *Verb) word(n int) string {
	if len(v.words) == 0 {
		return ""
	}
	return v.words[min(n, len(v.words)-1)]
}

// usage is the verb's first form, as it is typed.
func (v *Verb) usage() string { return "ipcctl " + join(v.Name, v.Synopsis[0]) }

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + " " + b
}
