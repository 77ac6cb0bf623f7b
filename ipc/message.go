package ipc

import (
	"os"
	"time"
)

// A Message is one message of the bus as a subscription receives it.
type Message struct {
	Topic   string
	Payload []byte // may be shared with other subscriptions: not to be changed
	Seq     uint64 // of the publication, by the daemon
	Time    time.Time

	// Count is the number of the message among those of the filter, in the daemon: it rises by one with each, and by as many more as are
	// Lost before. It begins somewhere, since subscribers to one filter share it, and anew with each connection. A retained value that
	// was there before the subscription has none: 0.
	Count uint64

	// The sender, as the kernel told the daemon.
	PID  int
	UID  int
	Unit string // systemd unit, "" if none

	Group string // of which the subscription is a member, "" if of none: see [Share]

	// Retained says that the message was published before the subscription: it is the value that the topic had then.
	Retained bool

	// Ended says how the sender had ended, as "exited 3", "killed 9" or "disconnected", if the message is a will. The daemon says it, and
	// nobody else can.
	Ended string

	Expires time.Time         // when the message is over, as its publisher says: see [Expires]; zero: never
	Headers map[string]string // what the publisher says beside the payload: see [Header]; shared like the payload

	// A file beside the message: FileSealed or FileOpen, "" if there is none; of how many bytes, -1 if it has no size; and the file, which the
	// receiver closes. File is nil if the subscription does not take files, or this process can have no more.
	FileKind string
	FileSize int64
	File     *os.File

	beside bool // the file comes with it

	// Lost is the number of messages that were dropped between the message received before this one and this one,
	// by the daemon or by the subscription's own buffer, because they were not taken out quickly enough. Of a group it is how many nobody
	// of it has got.
	Lost uint64

	// Conflated is how many were replaced likewise by newer ones of their topics: see [Conflate].
	Conflated uint64
}

// close closes the file of a message that nobody takes.
func (m *Message) close() {
	if m.File != nil {
		m.File.Close()
	}
}
