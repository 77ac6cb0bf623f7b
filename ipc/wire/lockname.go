package wire

import (
	"strconv"
	"strings"
)

// What happens to a lock is published as ipcd/lock/EVENT/NAME. A lock may be called whatever it likes, as libstdc++.lock, but a topic
// has no wildcards in it. So "+", "#" and, that there is a way back, "%" are written there by their numbers, as in a URL: %2B, %23,
// %25.

// LockTopics begins the topics of what happens to locks.
const LockTopics = "ipcd/lock/"

// escaped are the bytes of a lock's name that are others in a topic.
const escaped = "%+#"

// LockTopic is the topic of an event of a lock. As a filter, with the event "+", it is all of that lock's.
func LockTopic(event, name string) string {
	return string(AppendLockName(append(append([]byte(LockTopics), event...), '/'), name))
}

// AppendLockName appends a lock's name as it stands in topics.
func AppendLockName(b []byte, name string) []byte {
	for {
		i := strings.IndexAny(name, escaped)
		if i < 0 {
			return append(b, name...)
		}
		const hex = "0123456789ABCDEF"
		b = append(append(b, name[:i]...), '%', hex[name[i]>>4], hex[name[i]&15])
		name = name[i+1:]
	}
}

// ParseLockTopic is LockTopic the other way round; it reports false if the topic is none of a lock's.
func ParseLockTopic(topic string) (event, name string, ok bool) {
	rest, ok := strings.CutPrefix(topic, LockTopics)
	if !ok {
		return "", "", false
	}
	event, name, ok = strings.Cut(rest, "/")
	if !strings.Contains(name, "%") {
		return event, name, ok
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(name, "%")
		b.WriteString(before)
		if !found {
			return event, b.String(), ok
		}
		c, err := strconv.ParseUint(after[:min(len(after), 2)], 16, 8)
		if err != nil || len(after) < 2 {
			return "", "", false
		}
		b.WriteByte(byte(c))
		name = after[2:]
	}
}
