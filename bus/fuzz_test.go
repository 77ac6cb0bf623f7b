package bus

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzNames: what is accepted has every property that the rules name, and what is refused lacks one.
func FuzzNames(f *testing.F) {
	f.Fuzz(func(t *testing.T, name string) {
		topic, filter := CheckTopic(name), CheckFilter(name)

		sound := utf8.ValidString(name) && name != "" && len(name) <= 255 && !strings.ContainsFunc(name, unicode.IsControl)
		if want := sound && !strings.ContainsAny(name, "+#"); want != (topic == nil) || want != IsTopic(name) || want != naiveTopic(name) {
			t.Errorf("topic %q: %v, %v", name, topic, IsTopic(name))
		}
		levels := strings.Split(name, "/")
		placed := true
		for i, level := range levels {
			alone := level == "+" || level == "#" && i == len(levels)-1
			placed = placed && (alone || !strings.ContainsAny(level, "+#"))
		}
		if want := sound && placed; want != (filter == nil) {
			t.Errorf("filter %q: %v", name, filter)
		}
		if topic == nil && !Match(name, name) {
			t.Errorf("%q does not match itself", name)
		}

		for what, errs := range map[string][2]error{
			"topic":  {topic, CheckTopic([]byte(name))},
			"filter": {filter, CheckFilter([]byte(name))},
		} {
			if (errs[0] == nil) != (errs[1] == nil) || errs[0] != nil && errs[0].Error() != errs[1].Error() {
				t.Errorf("%s %q: %v as a string, %v as bytes", what, name, errs[0], errs[1])
			}
			var e *NameError
			if errs[0] == nil {
				continue
			}
			if !errors.As(errs[0], &e) || e.What != what || e.At < 0 || e.At > len(name) || e.Reason == "" ||
				!strings.HasPrefix(name, e.Name) || len(e.Error()) > 500 || !utf8.ValidString(e.Error()) {
				t.Errorf("%s %q: %#v", what, name, errs[0])
			}
		}
	})
}

// FuzzMatch: Match, and the index behind Publish, say what the rules say.
func FuzzMatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, filter, name string) {
		if CheckFilter(filter) != nil {
			return // only slow
		}
		want := naiveTopic(name) && naiveMatch(filter, name)
		if naiveTopic(name) && Match(filter, []byte(name)) != want {
			t.Errorf("Match(%q, %q) = %v", filter, name, !want)
		}
		b := New[int]()
		b.Verify = true
		subscribe(t, b, 1, Filter, filter)
		subscribe(t, b, 1, Pattern, FilterPattern+filter)
		subscribe(t, b, 1, Pattern, EnvelopePattern+filter)
		if _, routes, err := b.Publish([]byte(name)); err != nil || want && len(routes) != 3 || !want && len(routes) > 0 {
			t.Errorf("filter %q: Publish(%q) = %v, %v", filter, name, routes, err)
		}
		b.Drop(1)
		assertEmpty(t, b)
	})
}

// FuzzGlob: a Glob, and the index behind Publish, say what the rules say.
func FuzzGlob(f *testing.F) {
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 300 || len(s) > 3000 {
			return // only slow
		}
		want := naiveGlob(pattern, s)
		g := CompileGlob(pattern)
		if got := g.Match([]byte(s)); got != want || g.MatchString(s) != want {
			t.Errorf("%q, %q: Match = %v, MatchString = %v", pattern, s, got, g.MatchString(s))
		}
		scan := g.Scan()
		matches, done := scan.Next(s)
		for !done {
			matches, done = scan.Next(s)
		}
		if matches != want || want && !g.mayMatch([]byte(s)) {
			t.Errorf("%q, %q: bit by bit %v, mayMatch %v", pattern, s, matches, g.mayMatch([]byte(s)))
		}
		if _, _, filter := cutFilter(pattern); filter || CheckPattern(pattern) != nil {
			return
		}
		want = want && (!strings.HasPrefix(s, "ipcd/") || strings.HasPrefix(pattern, "ipcd/"))
		b := New[int]()
		b.Verify = true
		subscribe(t, b, 1, Pattern, pattern)
		if _, routes, err := b.Publish([]byte(s)); err != nil || (len(routes) == 1) != want {
			t.Errorf("pattern %q: Publish(%q) = %v, %v", pattern, s, routes, err)
		}
		b.Drop(1)
		assertEmpty(t, b)
	})
}
