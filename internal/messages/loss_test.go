package messages

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/bus"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestLossOf: a message is one, and nothing that a peer can have for a reply looks like one.
func TestLossOf(t *testing.T) {
	m := message{topic: []byte("a"), payload: []byte("x"), seq: 1, stamp: []byte(":1\r\n:2\r\n$0\r\n\r\n")}
	for _, p := range []wire.Proto{wire.RESP2, wire.RESP3} {
		if filter, n, told := lossOf(m.append(nil, p, 2, "a/#")); string(filter) != "a/#" || n != 1 || told {
			t.Errorf("a message: %q, %d, %v", filter, n, told)
		}
		value := m
		value.retained = true
		if filter, n, told := lossOf(value.append(nil, p, 2, "a/#")); string(filter) != "a/#" || n != 1 || told {
			t.Errorf("a retained value: %q, %d, %v", filter, n, told)
		}
		if filter, n, told := lossOf(appendLost(nil, p, "a/#", 12)); string(filter) != "a/#" || n != 12 || !told {
			t.Errorf("a loss: %q, %d, %v", filter, n, told)
		}
		if filter, n, told := lossOf(appendConflated(nil, p, "a/#", 12)); string(filter) != "a/#" || n != 0 || !told {
			t.Errorf("what was replaced: %q, %d, %v", filter, n, told)
		}
	}
	channels := slices.Concat([]string{"bus.message"}, slices.Repeat([]string{"a"}, 9))
	for _, reply := range []string{
		string(wire.AppendCommand(nil, channels...)),
		string(wire.AppendCommand(nil, "bus.lost", "a", "1")), string(wire.AppendCommand(nil, "bus.conflated", "a", "1")),
		"*2\r\n$8\r\nbus.lost\r\n:1\r\n", "$3\r\n*10\r\n\r\n", "+OK\r\n", "*0\r\n",
		string(m.append(nil, wire.RESP3, 0, "a")), string(m.append(nil, wire.RESP3, 1, "a*")),
	} {
		if filter, n, told := lossOf([]byte(reply)); n != 0 || told {
			t.Errorf("%q: %q, %d, %v", reply, filter, n, told)
		}
	}
}

// TestLossOfAnyReply: whatever the elements of a reply to EXEC are, it is looked at without harm, and a loss is of a positive number.
func TestLossOfAnyReply(t *testing.T) {
	bulk := func(s string) string { return string(wire.AppendBulk(nil, s)) }
	elements := []string{
		"$-1\r\n", "*-1\r\n", "*0\r\n", "_\r\n", ":1\r\n", ":-1\r\n", "+OK\r\n", "-ERR no\r\n", "*1\r\n$-1\r\n", bulk(""), bulk("a"), bulk(`{"lost":-1}`),
		bulk(`{"lost":99999999999999999999}`), bulk(lostChannel), bulk(bus.EnvelopePattern + "a"), bulk(bus.GroupPattern + "g/a"),
	}
	for _, word := range []string{"pmessage", "bus.lost", "bus.conflated", "bus.message"} {
		for _, length := range []int{3, 4, 10, 11} {
			const vary = 3 // so many of the elements behind the word, all of them of some
			rest := strings.Repeat(":1\r\n", max(0, length-1-vary))
			var try func(value string, left int)
			try = func(value string, left int) {
				if left == 0 {
					value += rest
					if _, n, told := lossOf([]byte(value)); n < 0 || told && n == 0 && word != "bus.conflated" {
						t.Fatalf("%q: %d, %v", value, n, told)
					}
					topicOfPush([]byte(value))
					return
				}
				for _, e := range elements {
					try(value+e, left-1)
				}
			}
			for _, kind := range []string{"*", ">"} {
				try(fmt.Sprintf("%s%d\r\n%s", kind, length, bulk(word)), min(vary, length-1))
			}
		}
	}
}
