package record

import "slices"

// A Complete says that the journal has all that is true. It is not there before the first daemon after a boot has written everything down,
// nor while there is no room for all.
type Complete struct{}

func (c *Complete) subject() Subject       { return Subject{Kind: KindComplete} }
func (c *Complete) append(b []byte) []byte { return appendFields(b, completeFields, c) }
func (c *Complete) join(*State)            {}
func (c *Complete) check() error           { return nil }

var completeFields []field[Complete]

// SaysComplete reports whether records say that they are all that is true.
func SaysComplete(records []Record) bool {
	return slices.ContainsFunc(records, func(r Record) bool { return r.Kind == KindComplete })
}
