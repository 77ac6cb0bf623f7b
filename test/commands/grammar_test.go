package commands

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// A node is a part of a row's Args: "name [token] [PID pid | UNTOLD] [AND name …]".
type node struct {
	word   string   // a keyword, if it is in upper case, or what a value is called
	oneOf  []string // "boot|day|ever": these words
	all    []node   // one after the other
	either [][]node // "A | B": one of these
	maybe  bool     // in brackets
	more   bool     // "…": again and again
}

// parse reads Args.
func parse(args string) node {
	for _, sign := range []string{"[", "]"} {
		args = strings.ReplaceAll(args, sign, " "+sign+" ")
	}
	words := strings.Fields(args)
	n := parseList(&words)
	if len(words) > 0 {
		panic("unbalanced: " + args)
	}
	return n
}

// parseList reads up to a closing bracket.
func parseList(words *[]string) node {
	var list []node
	var either [][]node
	for len(*words) > 0 && (*words)[0] != "]" {
		word := (*words)[0]
		*words = (*words)[1:]
		switch {
		case word == "[":
			n := parseList(words)
			*words = (*words)[1:] // "]"
			n.maybe = true
			list = append(list, n)
		case word == "…":
			list[len(list)-1].more = true
		case word == "|":
			either, list = append(either, list), nil
		case strings.Contains(word, "|"):
			list = append(list, node{oneOf: strings.Split(word, "|")})
		default:
			list = append(list, node{word: word})
		}
	}
	if either != nil {
		return node{either: append(either, list)}
	}
	return node{all: list}
}

// words makes words of a node. Values come from value, by what they are called.
func (n *node) words(rng *rand.Rand, value func(string) string) []string {
	if n.maybe && rng.IntN(3) == 0 {
		return nil
	}
	times := 1
	if n.more && rng.IntN(2) == 0 {
		times += rng.IntN(4)
	}
	if rng.IntN(500) == 0 {
		times = []int{0, 2, 70, 1100}[rng.IntN(4)]
	}
	var words []string
	for range times {
		switch {
		case n.oneOf != nil:
			words = append(words, n.oneOf[rng.IntN(len(n.oneOf))])
		case n.word != "" && strings.ToUpper(n.word) == n.word:
			words = append(words, n.word)
		case n.word != "":
			words = append(words, value(n.word))
		case n.either != nil:
			for _, part := range n.either[rng.IntN(len(n.either))] {
				words = append(words, part.words(rng, value)...)
			}
		default:
			parts := slices.Clone(n.all)
			if rng.IntN(20) == 0 {
				rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			}
			few := len(parts) > 6 // options of which any two may exclude each other
			for _, part := range parts {
				if !few || !part.maybe || rng.IntN(3) == 0 {
					words = append(words, part.words(rng, value)...)
				}
			}
		}
	}
	return words
}

// keywords are all words in upper case, and all alternatives.
func (n *node) keywords(add func(string)) {
	if n.word != "" && strings.ToUpper(n.word) == n.word {
		add(n.word)
	}
	for _, word := range n.oneOf {
		add(word)
	}
	for _, list := range append(n.either, n.all) {
		for i := range list {
			list[i].keywords(add)
		}
	}
}

func TestParse(t *testing.T) {
	var acquire *wire.Command
	for i := range wire.Commands {
		parse(wire.Commands[i].Args) // all of them can be
		if wire.Commands[i].Name == "LOCK.ACQUIRE" {
			acquire = &wire.Commands[i]
		}
	}
	n := parse(acquire.Args)
	var words []string
	n.keywords(func(word string) { words = append(words, word) })
	for _, want := range []string{"AND", "SHARED", "UNITS", "WITH", "ASYNC", "nobody", "REQID"} {
		if !slices.Contains(words, want) {
			t.Errorf("no %s in %q", want, words)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	seen := map[string]bool{}
	for range 3000 {
		for _, word := range n.words(rng, func(name string) string { return "<" + name + ">" }) {
			seen[word] = true
		}
	}
	for _, want := range append(words, "<name>", "<token>", "<ms>") {
		if !seen[want] {
			t.Errorf("%s is never made", want)
		}
	}
}
