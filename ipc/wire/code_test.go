package wire_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ipcd/ipcd/ipc"
	"github.com/ipcd/ipcd/ipc/wire"
)

// What scripts rely on: a code and its exit status never change.
func TestCodes(t *testing.T) {
	want := map[wire.Code]int{
		"ERR": 64, "BADNAME": 65, "NOTFOUND": 66, "NORESPONDERS": 67, "SHUTDOWN": 69, "INTERNAL": 70, "IOERR": 74,
		"BUSY": 75, "PROTO": 76, "NOPROTO": 76, "DENIED": 77, "CONFIG": 78, "QUOTA": 79, "DEADLOCK": 80, "NOLOCK": 82,
		"STALE": 82, "TIMEOUT": 124, "CANCELLED": 130,
	}
	for _, row := range wire.Codes {
		if exit, ok := want[row.Code]; ok && exit != row.Exit {
			t.Errorf("%s exits with %d, not %d any more", row.Code, row.Exit, exit)
		}
		if row.Summary == "" || row.Exit < 64 {
			t.Errorf("%+v", row)
		}
		if row.Code.Info() != row {
			t.Errorf("%s is listed twice", row.Code)
		}
		delete(want, row.Code)
	}
	for code := range want {
		t.Errorf("%s is gone", code)
	}
	if got := wire.Code("NEWER").Info().Code; got != wire.CodeErr {
		t.Errorf("an unknown code is treated as %s", got)
	}
}

func TestError(t *testing.T) {
	for _, c := range []struct {
		line string
		want ipc.Error
	}{
		{"BUSY a is held", ipc.Error{Code: wire.CodeBusy, Text: "a is held"}},
		{"BUSY", ipc.Error{Code: wire.CodeBusy}},
		{"WRONGTYPE it is", ipc.Error{Code: "WRONGTYPE", Text: "it is"}},
		{"no code", ipc.Error{Code: wire.CodeErr, Text: "no code"}},
		{"", ipc.Error{Code: wire.CodeErr}},
	} {
		err := wire.Value{Kind: wire.KindError, Str: c.line}.Err()
		var got *ipc.Error
		if !errors.As(err, &got) || *got != c.want {
			t.Errorf("%q: %#v, want %#v", c.line, err, c.want)
		}
	}
	if err := (wire.Value{Kind: wire.KindSimple, Str: "OK"}).Err(); err != nil {
		t.Error(err)
	}

	err := fmt.Errorf("cannot lock: %w", &ipc.Error{Code: wire.CodeBusy, Text: "a is held"})
	if !errors.Is(err, ipc.ErrBusy) || errors.Is(err, ipc.ErrTimeout) || errors.Is(err, &ipc.Error{Code: wire.CodeBusy, Text: "b is held"}) {
		t.Error(err)
	}
	if got := (&ipc.Error{Code: wire.CodeCancelled}).Error(); got != "CANCELLED" {
		t.Errorf("%q", got)
	}
}
