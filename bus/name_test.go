package bus

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	const valid = ""
	for _, tt := range []struct {
		name          string
		topic, filter string // the error's text
	}{
		{"a", valid, valid},
		{"a/b c/é/世界", valid, valid},
		{"/", valid, valid},
		{"//", valid, valid},
		{"/run/x", valid, valid},
		{"$SYS", valid, valid},
		{"ipcd/lock", valid, valid},
		{"a*b?[c]", valid, valid},
		{strings.Repeat("x", 255), valid, valid},
		{"\u00a0\ufeff\U0010ffff", valid, valid},

		// MQTT 5, 4.7.1.2 and 4.7.1.3.
		{"#", `wildcard "#" at byte 0 stands only in a filter`, valid},
		{"sport/tennis/player1/#", `wildcard "#" at byte 21 stands only in a filter`, valid},
		{"sport/tennis/#", `wildcard "#" at byte 13 stands only in a filter`, valid},
		{"sport/tennis#", `wildcard "#" at byte 12 stands only in a filter`, `wildcard "#" at byte 12 is not a whole level`},
		{"sport/tennis/#/ranking", `wildcard "#" at byte 13 stands only in a filter`, `wildcard "#" at byte 13 is not the last level`},
		{"+", `wildcard "+" at byte 0 stands only in a filter`, valid},
		{"+/tennis/#", `wildcard "+" at byte 0 stands only in a filter`, valid},
		{"sport+", `wildcard "+" at byte 5 stands only in a filter`, `wildcard "+" at byte 5 is not a whole level`},
		{"sport/+/player1", `wildcard "+" at byte 6 stands only in a filter`, valid},
		{"sport/tennis/+", `wildcard "+" at byte 13 stands only in a filter`, valid},
		{"/+", `wildcard "+" at byte 1 stands only in a filter`, valid},
		{"+/+", `wildcard "+" at byte 0 stands only in a filter`, valid},

		// 4.7.3.
		{"Accounts payable", valid, valid},
		{" ", valid, valid},
		{"/finance", valid, valid},
		{"finance/", valid, valid},
		{strings.Repeat("/", 255), valid, valid}, // no limit but that of the length
		{strings.Repeat("+/", 127) + "#", `wildcard "+" at byte 0 stands only in a filter`, valid},

		{"+a", `wildcard "+" at byte 0 stands only in a filter`, `wildcard "+" at byte 0 is not a whole level`},
		{"a/##", `wildcard "#" at byte 2 stands only in a filter`, `wildcard "#" at byte 2 is not a whole level`},
		{"#/", `wildcard "#" at byte 0 stands only in a filter`, `wildcard "#" at byte 0 is not the last level`},
		{"+/+/+", `wildcard "+" at byte 0 stands only in a filter`, valid},
		{"+#", `wildcard "+" at byte 0 stands only in a filter`, `wildcard "+" at byte 0 is not a whole level`},
		{"#+", `wildcard "#" at byte 0 stands only in a filter`, `wildcard "#" at byte 0 is not a whole level`},
		{"a/#/", `wildcard "#" at byte 2 stands only in a filter`, `wildcard "#" at byte 2 is not the last level`},
		{"++", `wildcard "+" at byte 0 stands only in a filter`, `wildcard "+" at byte 0 is not a whole level`},

		{"", "it is empty", "it is empty"},
		{strings.Repeat("x", 256), "256 bytes, at most 255", "256 bytes, at most 255"},
		{"a\x00", "control character U+0000 at byte 1", "control character U+0000 at byte 1"},
		{"a\nb", "control character U+000A at byte 1", "control character U+000A at byte 1"},
		{"é\x7f", "control character U+007F at byte 2", "control character U+007F at byte 2"},
		{"\u009b", "control character U+009B at byte 0", "control character U+009B at byte 0"},
		{"a\u009f", "control character U+009F at byte 1", "control character U+009F at byte 1"},
		{"ab\xff", "invalid UTF-8 at byte 2", "invalid UTF-8 at byte 2"},
		{"\xc3", "invalid UTF-8 at byte 0", "invalid UTF-8 at byte 0"},
		{"\xed\xa0\x80", "invalid UTF-8 at byte 0", "invalid UTF-8 at byte 0"}, // a surrogate
		{"\xc0\xaf", "invalid UTF-8 at byte 0", "invalid UTF-8 at byte 0"},     // an overlong "/"
	} {
		check := func(what string, err error, reason string) {
			t.Helper()
			if reason == valid {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				return
			}
			var ne *NameError
			if !errors.As(err, &ne) || ne.What != what || ne.Reason != reason {
				t.Errorf("%s %q: %v, want reason %q", what, tt.name, err, reason)
			}
		}
		check("topic", CheckTopic(tt.name), tt.topic)
		check("topic", CheckTopic([]byte(tt.name)), tt.topic)
		check("filter", CheckFilter(tt.name), tt.filter)
		check("filter", CheckFilter([]byte(tt.name)), tt.filter)
	}
}

func TestNameError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
		at   int
	}{
		{CheckTopic("a/+"), `bad topic "a/+": wildcard "+" at byte 2 stands only in a filter`, 2},
		{CheckFilter("a/\x1b"), `bad filter "a/\x1b": control character U+001B at byte 2`, 2},
		{CheckName("lock name", "a+\x1b", 200), `bad lock name "a+\x1b": control character U+001B at byte 2`, 2},
		{CheckName("lock name", strings.Repeat("n", 201), 200),
			`bad lock name "` + strings.Repeat("n", 64) + `"…: 201 bytes, at most 200`, 200},
	} {
		var ne *NameError
		if !errors.As(tt.err, &ne) || ne.Error() != tt.want || ne.At != tt.at {
			t.Errorf("got %v, want %s", tt.err, tt.want)
		}
	}
	// An error does not keep a huge name alive.
	var ne *NameError
	if err := CheckTopic(make([]byte, 1<<20)); !errors.As(err, &ne) || len(ne.Name) != MaxTopic {
		t.Errorf("the error keeps %d bytes of the name", len(ne.Name))
	}
}
