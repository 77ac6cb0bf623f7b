package verb

import (
	"strconv"
	"strings"
)

// A Completer finds what the unfinished word of a command line may become.
type Completer struct {
	Call   *Call
	Offer  func(word, help string)          // is told of each candidate
	Values func(name, before, begun string) // offers what a value or a word of this name can be, behind before, if it begins so
}

// Line looks at the words before the unfinished one.
func (k *Completer) Line(before []string, word string) {
	unfinished, c := word, k.Call
	p := Parser{Options: c.options()}
	var v *Verb
	var wants *Option // the value that comes next is this option's
	words, ended := 0, false
	for i, word := range before {
		switch {
		case wants != nil:
			_ = wants.Set(word) // what is wrong is told when the line is run
			wants = nil
		case v != nil && word == "--" && v.dashesCommand(words):
			k.Offer("", "command "+strconv.Itoa(i+2))
			return
		case word == "--":
			ended = true
		case isOption(word) && !ended:
			wants = p.pending(word)
		case v == nil:
			if v, _ = c.Table.Find(word); v == nil { // that is told when the line is run
				return
			}
			p.Options = append(p.Options, v.Options...)
		case v.Grammar == NameCommand && words > 0:
			k.Offer("", "command "+strconv.Itoa(i+1))
			return
		default:
			words++
		}
	}
	name, value, attached := strings.Cut(unfinished, "=")
	switch {
	case wants != nil:
		k.Values(wants.Value, "", unfinished)
	case strings.HasPrefix(unfinished, "--") && attached && !ended:
		if o := p.long(name[2:]); o != nil {
			k.Values(o.Value, name+"=", value)
		}
	case strings.HasPrefix(unfinished, "-") && !ended:
		k.optionNames(p.Options, unfinished)
	case v == nil:
		k.Values("VERB", "", unfinished)
	case v.Grammar == NameCommand && words > 0:
		k.Offer("", "command "+strconv.Itoa(len(before)+1))
	case words < v.Most:
		k.Values(v.word(words), "", unfinished)
	}
}

// pending carries out an option that is complete, and returns one whose value is still to come.
func (p *Parser) pending(word string) *Option {
	if name, long := strings.CutPrefix(word, "--"); long {
		name, value, attached := strings.Cut(name, "=")
		o := p.long(name)
		if o != nil && o.Value != "" && !attached {
			return o
		}
		if o != nil {
			_ = o.Set(value) // what is wrong is told when the line is run
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

func (k *Completer) optionNames(options []Option, unfinished string) {
	for i := range options {
		o := &options[i]
		long := "--" + o.Long
		if o.Value != "" {
			long += "="
		}
		switch {
		case o.Long != "" && strings.HasPrefix(long, unfinished):
			k.Offer(long, o.Help)
		case o.Short != 0 && unfinished == "-"+string(o.Short):
			k.Offer(unfinished, o.Help)
		}
	}
}
