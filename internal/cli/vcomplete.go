package cli

import (
	"strconv"
	"strings"
)

// A completer finds what the unfinished word of a command line may become.
type completer struct {
	call   *call
	offer  func(word, help string)          // is told of each candidate
	values func(name, before, begun string) // offers what a value or a word of this name can be, behind before, if it begins so
}

// line looks at the words before the unfinished one.
func (k *completer) line(before []string, word string) {
	unfinished, c := word, k.call
	p := parser{options: c.options()}
	var v *Verb
	var wants *Option // the value that comes next is this option's
	words, ended := 0, false
	for i, word := range before {
		switch {
		case wants != nil:
			_ = wants.set(word) // what is wrong is told when the line is run
			wants = nil
		case v != nil && word == "--" && v.dashesCommand(words):
			k.offer("", "command "+strconv.Itoa(i+2))
			return
		case word == "--":
			ended = true
		case isOption(word) && !ended:
			wants = p.pending(word)
		case v == nil:
			if v, _ = c.table.find(word); v == nil { // that is told when the line is run
				return
			}
			p.options = append(p.options, v.Options...)
		case v.grammar == nameCommand && words > 0:
			k.offer("", "command "+strconv.Itoa(i+1))
			return
		default:
			words++
		}
	}
	name, value, attached := strings.Cut(unfinished, "=")
	switch {
	case wants != nil:
		k.values(wants.Value, "", unfinished)
	case strings.HasPrefix(unfinished, "--") && attached && !ended:
		if o := p.long(name[2:]); o != nil {
			k.values(o.Value, name+"=", value)
		}
	case strings.HasPrefix(unfinished, "-") && !ended:
		k.optionNames(p.options, unfinished)
	case v == nil:
		k.values("VERB", "", unfinished)
	case v.grammar == nameCommand && words > 0:
		k.offer("", "command "+strconv.Itoa(len(before)+1))
	case words < v.most:
		k.values(v.word(words), "", unfinished)
	}
}

// pending carries out an option that is complete, and returns one whose value is still to come.
func (p *parser) pending(word string) *Option {
	if name, long := strings.CutPrefix(word, "--"); long {
		name, value, attached := strings.Cut(name, "=")
		o := p.long(name)
		if o != nil && o.Value != "" && !attached {
			return o
		}
		if o != nil {
			_ = o.set(value) // what is wrong is told when the line is run
		}
		return nil
	}
	for i := 1; i < len(word); i++ {
		if o := p.short(word[i]); o != nil && o.Value != "" {
			if i+1 == len(word) {
				return o
			}
			return nil
		}
	}
	return nil
}

func (k *completer) optionNames(options []Option, unfinished string) {
	for i := range options {
		o := &options[i]
		long := "--" + o.Long
		if o.Value != "" {
			long += "="
		}
		switch {
		case o.Long != "" && strings.HasPrefix(long, unfinished):
			k.offer(long, o.Help)
		case o.Short != 0 && unfinished == "-"+string(o.Short):
			k.offer(unfinished, o.Help)
		}
	}
}
