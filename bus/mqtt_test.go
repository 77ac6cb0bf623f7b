package bus

import (
	"slices"
	"strings"
	"testing"
)

// matches are what MQTT 5, section 4.7, says of filters and topics, by example and by rule, and what follows from it at the edges. All
// that match one another do so in the same way wherever they meet: see TestMatch.
var matches = []struct {
	filter, topic string
	want          bool
}{
	// 4.7.1.1: levels are between slashes, and may be empty.
	{"a//b", "a//b", true},
	{"a//b", "a/b", false},
	{"a/b", "a//b", false},
	{"a/+/b", "a//b", true},
	{"a/+/b", "a/b", false},
	{"/", "/", true},
	{"/", "//", false},
	{"//", "/", false},
	{"+/+", "/", true},
	{"+/+/+", "//", true},
	{"+/+", "//", false},
	{"+", "/", false},

	// 4.7.1.2: the wildcard for many levels stands for the level that it is behind, too.
	{"sport/tennis/player1/#", "sport/tennis/player1", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"sport/tennis/player1/#", "sport/tennis/player10", false},
	{"sport/tennis/player1/#", "sport/tennis", false},
	{"sport/tennis/player1/#", "sport/tennis/player", false},
	{"sport/tennis/#", "sport/tennis", true},
	{"sport/#", "sport", true},
	{"sport/#", "sport/", true},
	{"sport/#", "sport//", true},
	{"sport/#", "sports", false},
	{"sport/#", "spor", false},
	{"#", "sport", true},
	{"#", "sport/tennis/player1", true},
	{"#", "/", true},
	{"/#", "/", true},
	{"/#", "/finance", true},
	{"/#", "finance", false},
	{"/#", "//", true},
	{"//#", "/", true},
	{"//#", "/a", false},

	// 4.7.1.3: the wildcard for one level.
	{"sport/tennis/+", "sport/tennis/player1", true},
	{"sport/tennis/+", "sport/tennis/player2", true},
	{"sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"sport/tennis/+", "sport/tennis", false},
	{"sport/tennis/+", "sport/tennis/", true},
	{"sport/+", "sport", false},
	{"sport/+", "sport/", true},
	{"sport/+/", "sport/x/", true},
	{"sport/+/", "sport/x", false},
	{"+/+", "/finance", true},
	{"/+", "/finance", true},
	{"+", "/finance", false},
	{"+", "finance", true},
	{"+/tennis/#", "sport/tennis", true},
	{"+/tennis/#", "/tennis/x", true},
	{"+/tennis/#", "tennis", false},
	{"sport/+/player1", "sport/tennis/player1", true},
	{"sport/+/player1", "sport/tennis/player10", false},
	{"sport/+/player1", "sport/player1", false},
	{"a/+/#", "a", false},
	{"a/+/#", "a/b", true},
	{"a/+/#", "a/", true},
	{"a/+/#", "a/b/c/d", true},
	{"a/+/+/#", "a/b", false},

	// 4.7.2, with the names of the daemon in the place of those that begin with "$", which means nothing here.
	{"#", "ipcd/lock/acquired/backup", false},
	{"+/monitor/clients", "ipcd/monitor/clients", false},
	{"+/monitor/clients", "$SYS/monitor/clients", true},
	{"ipcd/#", "ipcd/monitor/clients", true},
	{"ipcd/monitor/+", "ipcd/monitor/clients", true},
	{"ipcd/+/clients", "ipcd/monitor/clients", true},
	{"ipcd/#", "ipcd", true},
	{"ipcd/#", "ipcd/", true},
	{"ipcd/#", "ipcd/lock", true},
	{"ipcd/+", "ipcd/", true},
	{"ipcd/+", "ipcd", false},
	{"ipcd", "ipcd", true},
	{"ipcd/+/#", "ipcd/lock", true},
	{"ipcd/#", "ipcdx", false},
	{"#", "ipcd", false},
	{"+", "ipcd", false},
	{"+/", "ipcd/", false},
	{"+/#", "ipcd", false},
	{"+/#", "ipcd/lock", false},
	{"+/+", "ipcd/lock", false},
	{"+/lock", "ipcd/lock", false},
	{"#", "ipcdx", true},
	{"#", "ipc", true},
	{"#", "IPCD/x", true},
	{"#", "/ipcd/x", true},
	{"/#", "/ipcd", true},
	{"+/ipcd", "a/ipcd", true},
	{"a/+", "a/ipcd", true},
	{"+/x", "ipcde/x", true},
	{"#", "$SYS/monitor", true},
	{"$SYS/#", "$SYS/monitor/clients", true},

	// 4.7.3: names are compared byte by byte, with no regard to case or normal forms.
	{"ACCOUNTS", "Accounts", false},
	{"Accounts payable", "Accounts payable", true},
	{"/finance", "finance", false},
	{"finance", "/finance", false},
	{"finance/", "finance", false},
	{"finance", "finance/", false},
	{"\u00e9", "e\u0301", false}, // the same letter, not the same name
	{"+", "\u00e9", true},
	{"a/*", "a/b", false}, // no wildcard here
	{"a/*", "a/*", true},

	// As long, and as deep, as names may be.
	{strings.Repeat("+/", 127) + "+", strings.Repeat("/", 127), true},
	{strings.Repeat("+/", 127) + "#", strings.Repeat("/", 127), true},
	{strings.Repeat("+/", 127) + "#", strings.Repeat("/", 126), true},
	{strings.Repeat("+/", 127) + "#", strings.Repeat("/", 125), false},
	{strings.Repeat("/", 255), strings.Repeat("/", 255), true},
	{"#", strings.Repeat("/", 255), true},
	{"a/#", "a/" + strings.Repeat("x", 253), true},
	{"+", strings.Repeat("x", 255), true},
}

// TestMatch: what the table says is said by Match, by who publishes (topic over filters, in each of the forms that a filter may be
// subscribed to), by who looks for retained values (filter over topics), and by the plain matcher that other tests compare with. Then
// all filters meet all topics at once, so that none is hidden by another.
func TestMatch(t *testing.T) {
	all := New[string]()
	all.Verify = true
	var values Retained[string]
	for _, tt := range matches {
		if err := CheckFilter(tt.filter); err != nil {
			t.Error(err)
		}
		if err := CheckTopic(tt.topic); err != nil {
			t.Error(err)
		}
		if got := Match(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.filter, tt.topic, got)
		}
		if got := Match([]byte(tt.filter), []byte(tt.topic)); got != tt.want {
			t.Errorf("Match(%q, %q) = %v as bytes", tt.filter, tt.topic, got)
		}
		if got := naiveMatch(tt.filter, tt.topic); got != tt.want {
			t.Errorf("naiveMatch(%q, %q) = %v", tt.filter, tt.topic, got)
		}
		b := New[int]()
		for _, form := range []struct {
			kind Kind
			text string
		}{{Filter, tt.filter}, {Pattern, FilterPattern + tt.filter}, {Pattern, EnvelopePattern + tt.filter}} {
			subscribe(t, b, 1, form.kind, form.text)
			if _, routes, err := b.Publish([]byte(tt.topic)); err != nil || (len(routes) == 1) != tt.want {
				t.Errorf("%v %q: Publish(%q) = %v, %v", form.kind, form.text, tt.topic, routes, err)
			}
			b.Drop(1)
		}
		var one Retained[string]
		one.Set(tt.topic, tt.topic)
		if got := found(one.Lookup(tt.filter)); (len(got) == 1) != tt.want {
			t.Errorf("%q finds %q of %q", tt.filter, got, tt.topic)
		}
		subscribe(t, all, tt.filter, Filter, tt.filter)
		values.Set(tt.topic, tt.topic)
	}
	for _, meets := range matches {
		_, routes, err := all.Publish([]byte(meets.topic))
		if err != nil {
			t.Fatal(err)
		}
		takes := textsOf(routes)
		has := found(values.Lookup(meets.filter))
		for _, other := range matches {
			if got, want := slices.Contains(takes, "filter "+other.filter), naiveMatch(other.filter, meets.topic); got != want {
				t.Errorf("among many filters, %q takes %q: %v", other.filter, meets.topic, got)
			}
			if got, want := slices.Contains(has, other.topic), naiveMatch(meets.filter, other.topic); got != want {
				t.Errorf("among many topics, %q finds %q: %v", meets.filter, other.topic, got)
			}
		}
	}
}
