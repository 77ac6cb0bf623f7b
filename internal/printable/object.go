package printable

import "strconv"

// An object of JSON is appended by BeginObject, its fields in their order, and EndObject.

// BeginObject begins an object, which must have a field.
func BeginObject(b []byte) []byte { return append(b, '{') }

// AppendIntField appends a number. key is written as it is.
func AppendIntField(b []byte, key string, n int64) []byte {
	return append(strconv.AppendInt(appendKey(b, key), n, 10), ',')
}

// AppendTextField appends a text.
func AppendTextField(b []byte, key, text string) []byte {
	return append(AppendJSON(appendKey(b, key), text), ',')
}

// EndObject ends the object.
func EndObject(b []byte) []byte {
	b[len(b)-1] = '}' // for the last comma
	return b
}

func appendKey(b []byte, key string) []byte {
	b = append(b, '"')
	b = append(b, key...)
	return append(b, `":`...)
}
