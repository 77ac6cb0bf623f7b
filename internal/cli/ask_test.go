package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/ipc/wire"
)

// TestAnswerPiecesCount: the headers of answers that go on are kept for the object that is printed in the end, and count with the payloads, as
// long as they are there.
func TestAnswerPiecesCount(t *testing.T) {
	part := func(payload string, headers ...string) *wire.Value {
		h := wire.Value{Kind: wire.KindMap}
		for _, text := range headers {
			h.Elems = append(h.Elems, wire.Value{Kind: wire.KindBulk, Str: text})
		}
		return &wire.Value{Kind: wire.KindMap, Elems: []wire.Value{
			{Kind: wire.KindBulk, Str: "payload"}, {Kind: wire.KindBulk, Str: payload}, {Kind: wire.KindBulk, Str: "headers"}, h}}
	}
	for name, c := range map[string]struct {
		json bool
		next func(i int) *wire.Value
		kept int // bytes of 10000 such parts, or some more
	}{
		"long headers":       {true, func(i int) *wire.Value { return part("", fmt.Sprintf("h%04d", i), strings.Repeat("x", 95)) }, 1_000_000},
		"short headers":      {true, func(i int) *wire.Value { return part("", fmt.Sprintf("h%04d", i), "") }, 1_000_000},
		"the same header":    {true, func(i int) *wire.Value { return part("", "h", strings.Repeat("x", i%100)) }, 0},
		"headers not wanted": {false, func(i int) *wire.Value { return part("", fmt.Sprintf("h%04d", i), "x") }, 0},
		"payloads":           {false, func(int) *wire.Value { return part("ten bytes.", "h", "x") }, 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			p := &answerPrinter{call: &verb.Call{}, several: true}
			p.call.JSON = c.json
			for i := range 10_000 {
				p.take(1, c.next(i), true)
			}
			if p.kept < c.kept || p.kept > 3*c.kept+1000 {
				t.Errorf("%d bytes are kept, want %d or some more", p.kept, c.kept)
			}
			p.take(2, part("another"), true)
			p.forget(1)
			if p.forget(2); p.kept != 0 {
				t.Errorf("%d bytes are kept of nothing", p.kept)
			}
		})
	}
}
