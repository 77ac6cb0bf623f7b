package wire

import (
	"strings"

	"github.com/ipcd/ipcd/internal/nearest"
)

// A Family says whose command it is, and so who documents it.
type Family uint8

// The families.
const (
	FamilyRedis Family = iota // as Redis documents it, but for Command.Note
	FamilyBus                 // BUS.*: messages
	FamilyLock                // LOCK.*: named locks
	FamilyAdmin               // IPCD.*: the daemon itself
)

var familyNames = [...]string{"redis", "bus", "lock", "admin"}

func (f Family) String() string { return familyNames[f] }

// Access is the right that a command asks for, to each of the things that it names. Policy looks at nothing else of a command.
type Access uint8

// The rights.
const (
	AccessNone      Access = iota // any peer that could connect
	AccessPublish                 // to publish on the topic it names
	AccessSubscribe               // to receive what the filter matches
	AccessLook                    // to learn of the lock it names
	AccessLock                    // to hold the lock it names
	AccessBreak                   // to take the lock it names away from who holds it
	AccessAdmin                   // root, and the user that the daemon runs as
)

var accessNames = [...]string{"none", "publish", "subscribe", "look", "lock", "break", "admin"}

func (a Access) String() string { return accessNames[a] }

// Flags say how a command meets the connection's state.
type Flags uint16

// The flags.
const (
	FlagSubscribed  Flags = 1 << iota // allowed on a RESP2 connection that has subscriptions
	FlagBlocks                        // may wait: it holds up the connection's later commands, unless ASYNC
	FlagPushes                        // answers with pushes
	FlagSlow                          // takes longer the more there is to look at
	FlagFanOut                        // takes longer the more receive what it sends
	FlagQueues                        // takes longer the more locks are held and waited for
	FlagAsks                          // takes longer the more filters are served
	FlagDescriptors                   // file descriptors may come with it
	FlagUnqueued                      // executed at once, also between MULTI and EXEC
	FlagNoMulti                       // refused between MULTI and EXEC
)

// Names say which words of a command name what it asks for access to: a topic, a filter, a lock.
type Names struct {
	First   bool     // the first argument
	Rest    bool     // and all others
	Options []Option // behind the first: those that have not one value, or have a name among their values
}

// An Option is a word behind which others belong to it.
type Option struct {
	Word   string // upper case
	Values int    // how many
	Name   int    // which of them is a name, from 1; 0: none
}

// A Command is one row of the command table: what the daemon dispatches by and what COMMAND DOCS, docs/protocol.md
// and the completion of "ipcctl raw" are made from.
type Command struct {
	Name    string // upper case; a subcommand has two words: "CLIENT LIST"
	Args    string // what follows, for people; [optional], … for more
	Min     int    // fewest words, the name's included
	Max     int    // most words; 0: no bound but the limit on a frame
	Family  Family
	Access  Access
	Names   Names
	Flags   Flags
	Summary string // one line, no full stop
	Reply   string // what comes back
	Note    string // where a Redis command differs from Redis's documentation
	Errors  []Code // the codes it may answer with, besides ERR and QUOTA
}

// mostNamed is how many commands, or sections of INFO, may be asked about at once: more than there are. What is made for each is a
// thousand times as long as its name.
const mostNamed = 64

// Commands is the command table. A name with one word that others begin with (CLIENT) is not a row itself: its
// subcommands are.
var Commands = []Command{
	// Connection.
	{Name: "HELLO", Args: "[protover [AUTH username password] [SETNAME name]]", Min: 1, Family: FamilyRedis,
		Summary: "Choose the protocol version and learn who answers", Reply: "map: server (ipcd), version, proto, id, mode, role, modules, pid (of the daemon), input_limit (bytes of a command), arguments_limit (words of one)",
		Note: "AUTH is refused: identity comes from the kernel", Errors: []Code{CodeNoProto}},
	{Name: "PING", Args: "[message]", Min: 1, Max: 2, Family: FamilyRedis, Flags: FlagSubscribed,
		Summary: "Ask whether the daemon answers", Reply: "PONG, or the message"},
	{Name: "ECHO", Args: "message", Min: 2, Max: 2, Family: FamilyRedis, Summary: "Get the message back", Reply: "the message"},
	{Name: "QUIT", Min: 1, Family: FamilyRedis, Flags: FlagSubscribed | FlagUnqueued, Summary: "End the connection after what was asked is answered", Reply: "OK"},
	{Name: "RESET", Min: 1, Max: 1, Family: FamilyRedis, Flags: FlagSubscribed | FlagUnqueued, Summary: "Reset the connection: RESP2, no subscription, no name, no wait, no transaction",
		Reply: "RESET", Note: "locks stay held"},
	{Name: "AUTH", Args: "[username] password", Min: 2, Family: FamilyRedis, Summary: "Refused: the kernel says who a client is", Reply: "always an error", Note: "always refused: there are no passwords"},
	{Name: "SELECT", Args: "index", Min: 2, Max: 2, Family: FamilyRedis, Summary: "Accepted for 0, the only index", Reply: "OK", Note: "any other is an error"},
	{Name: "TIME", Min: 1, Max: 1, Family: FamilyRedis, Summary: "The daemon's clock", Reply: "array: seconds since 1970, microseconds"},
	{Name: "INFO", Args: "[section …]", Min: 1, Max: 1 + mostNamed, Family: FamilyRedis, Flags: FlagSlow, Summary: "The daemon's state as text", Reply: "text, KEY:VALUE lines in sections", Note: "a field without meaning here is 0, and there are fields about messages and locks; at most 64 sections at once"},
	{Name: "CONFIG GET", Args: "pattern …", Min: 3, Family: FamilyRedis, Summary: "Always empty, for clients that ask", Reply: "empty map",
		Note: "the configuration is a file: see ipcd.toml(5)"},

	{Name: "CONFIG HELP", Min: 2, Max: 2, Family: FamilyRedis, Summary: "The subcommands of CONFIG", Reply: "array of lines", Note: "of those that are here"},
	{Name: "DBSIZE", Min: 1, Max: 1, Family: FamilyRedis, Summary: "How many keys there are: none", Reply: "integer: 0"},
	{Name: "FLUSHALL", Args: "[ASYNC|SYNC]", Min: 1, Family: FamilyRedis, Summary: "Remove all keys, of which there are none: locks and subscriptions stay", Reply: "OK"},
	{Name: "FLUSHDB", Args: "[ASYNC|SYNC]", Min: 1, Family: FamilyRedis, Summary: "As FLUSHALL", Reply: "OK"},
	{Name: "ROLE", Min: 1, Max: 1, Family: FamilyRedis, Summary: "The server's role in a replication: a master without replicas", Reply: "array: master, 0, empty array"},
	{Name: "ASKING", Min: 1, Max: 1, Family: FamilyRedis, Summary: "Refused: this is no cluster", Reply: "always an error"},
	{Name: "CLUSTER", Args: "subcommand [argument …]", Min: 2, Family: FamilyRedis, Summary: "Refused: this is no cluster", Reply: "always an error",
		Note: "every subcommand, known or not, is answered as by a Redis without cluster support"},
	{Name: "READONLY", Min: 1, Max: 1, Family: FamilyRedis, Summary: "Refused: this is no cluster", Reply: "always an error"},
	{Name: "READWRITE", Min: 1, Max: 1, Family: FamilyRedis, Summary: "Refused: this is no cluster", Reply: "always an error"},

	// Transactions.
	{Name: "MULTI", Min: 1, Max: 1, Family: FamilyRedis, Flags: FlagUnqueued, Summary: "Queue the commands that follow, for EXEC", Reply: "OK; then QUEUED for each of them"},
	{Name: "EXEC", Min: 1, Max: 1, Family: FamilyRedis, Flags: FlagUnqueued | FlagSlow, Summary: "Execute the queued commands, one after the other", Reply: "array: their replies, in order",
		Note: "a command in it does not wait for a lock: see Transactions", Errors: []Code{CodeExecAbort}},
	{Name: "DISCARD", Min: 1, Max: 1, Family: FamilyRedis, Flags: FlagUnqueued, Summary: "Forget the queued commands", Reply: "OK"},
	{Name: "WATCH", Args: "key [key …]", Min: 2, Family: FamilyRedis, Flags: FlagUnqueued, Summary: "Accepted, without effect: there are no keys that could change", Reply: "OK"},
	{Name: "UNWATCH", Min: 1, Max: 1, Family: FamilyRedis, Summary: "Accepted, without effect", Reply: "OK"},

	// The command table itself.
	{Name: "COMMAND", Min: 1, Family: FamilyRedis, Flags: FlagSlow, Summary: "Every command", Reply: "array, as COMMAND INFO", Note: "of the commands that are here"},
	{Name: "COMMAND COUNT", Min: 2, Max: 2, Family: FamilyRedis, Summary: "How many commands there are", Reply: "integer", Note: "of the commands that are here"},
	{Name: "COMMAND LIST", Args: "[FILTERBY MODULE name | ACLCAT category | PATTERN glob]", Min: 2, Max: 5, Family: FamilyRedis, Flags: FlagSlow, Summary: "The names of all commands", Reply: "array of names", Note: "of the commands that are here"},
	{Name: "COMMAND INFO", Args: "[command …]", Min: 2, Max: 2 + mostNamed, Family: FamilyRedis, Flags: FlagSlow, Summary: "Arity and flags of commands", Reply: "array",
		Note: "of the commands that are here, at most 64 at once"},
	{Name: "COMMAND DOCS", Args: "[command …]", Min: 2, Max: 2 + mostNamed, Family: FamilyRedis, Flags: FlagSlow, Summary: "Summary, arguments and reply of commands", Reply: "map by name",
		Note: "of the commands that are here, at most 64 at once"},
	{Name: "COMMAND GETKEYS", Args: "command argument …", Min: 4, Family: FamilyRedis, Summary: "Which words of a command are keys: none", Reply: "always an error"},
	{Name: "COMMAND GETKEYSANDFLAGS", Args: "command argument …", Min: 4, Family: FamilyRedis, Summary: "As COMMAND GETKEYS", Reply: "always an error"},
	{Name: "COMMAND HELP", Min: 2, Max: 2, Family: FamilyRedis, Summary: "The subcommands of COMMAND", Reply: "array of lines", Note: "of those that are here"},

	// Clients.
	{Name: "CLIENT ID", Min: 2, Max: 2, Family: FamilyRedis, Summary: "This connection's number", Reply: "integer, never used twice by one daemon"},
	{Name: "CLIENT INFO", Min: 2, Max: 2, Family: FamilyRedis, Summary: "This connection's line of CLIENT LIST", Reply: "text", Note: "as CLIENT LIST"},
	{Name: "CLIENT LIST", Args: "[TYPE normal|pubsub] [ID id …]", Min: 2, Family: FamilyRedis, Flags: FlagSlow, Summary: "Who is connected", Reply: "text, a line of key=value words each",
		Note: "also has watch, lib-name and lib-ver of later versions, and bsub, gsub, pid, uid, gid, unit, start (clock ticks after boot), locks and lost (messages that it has missed) of the peer; oll is how many replies and messages wait for it as it does not read, and omem their bytes; addr is unix:ID"},
	{Name: "CLIENT KILL", Args: "id-or-addr | [ID id] [TYPE t] [ADDR a] [LADDR a] [USER u] [SKIPME yes|no] [MAXAGE s]", Min: 3, Max: 16, Family: FamilyRedis, Flags: FlagSlow,
		Summary: "End connections: of the caller's user, or of any if that is root", Reply: "OK for the old form, else the number ended", Note: "only root may end another user's; addr is unix:ID; also has MAXAGE of later versions; at most 7 conditions", Errors: []Code{CodeDenied}},
	{Name: "CLIENT SETNAME", Args: "name", Min: 3, Max: 3, Family: FamilyRedis, Summary: "Name this connection in CLIENT LIST", Reply: "OK"},
	{Name: "CLIENT GETNAME", Min: 2, Max: 2, Family: FamilyRedis, Summary: "This connection's name", Reply: "text or null"},
	{Name: "CLIENT SETINFO", Args: "LIB-NAME|LIB-VER value", Min: 4, Max: 4, Family: FamilyRedis, Summary: "Tell which client library this is", Reply: "OK", Note: "of Redis 7.2"},
	{Name: "CLIENT REPLY", Args: "ON|OFF|SKIP", Min: 3, Max: 3, Family: FamilyRedis, Flags: FlagNoMulti, Summary: "Turn replies off or on, or skip the next one", Reply: "OK for ON, else nothing",
		Note: "refused between MULTI and EXEC: the reply to EXEC would lack an element"},
	{Name: "CLIENT NO-EVICT", Args: "ON|OFF", Min: 3, Max: 3, Family: FamilyRedis, Summary: "Accepted, without effect", Reply: "OK"},
	{Name: "CLIENT NO-TOUCH", Args: "ON|OFF", Min: 3, Max: 3, Family: FamilyRedis, Summary: "Accepted, without effect", Reply: "OK", Note: "of Redis 7.2"},
	{Name: "CLIENT TRACKING", Args: "ON|OFF [REDIRECT id] [PREFIX prefix …] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]", Min: 3, Family: FamilyRedis, Summary: "Accepted, without effect: there are no keys to track", Reply: "OK", Note: "REDIRECT may name any connection"},
	{Name: "CLIENT HELP", Min: 2, Max: 2, Family: FamilyRedis, Summary: "The subcommands of CLIENT", Reply: "array of lines", Note: "of those that are here"},

	// Publish and subscribe, as Redis has it.
	{Name: "PUBLISH", Args: "channel message", Min: 3, Max: 3, Family: FamilyRedis, Access: AccessPublish, Names: Names{First: true}, Flags: FlagFanOut, Summary: "Send a message to all subscribers",
		Reply: "integer: how many subscriptions got it", Note: "names that begin with ipcd/ are the daemon's own", Errors: []Code{CodeDenied}},
	{Name: "SUBSCRIBE", Args: "channel [channel …]", Min: 2, Family: FamilyRedis, Access: AccessSubscribe, Names: Names{First: true, Rest: true}, Flags: FlagSubscribed | FlagPushes,
		Summary: "Receive the messages of channels", Reply: "push per channel: subscribe, channel, count; then message, channel, payload",
		Note: "a long name counts as one subscription for each 256 bytes"},
	{Name: "UNSUBSCRIBE", Args: "[channel …]", Min: 1, Family: FamilyRedis, Flags: FlagSubscribed | FlagPushes, Summary: "End SUBSCRIBE for these channels, or all",
		Reply: "push per channel: unsubscribe, channel or null, count"},
	{Name: "PSUBSCRIBE", Args: "pattern [pattern …]", Min: 2, Family: FamilyRedis, Access: AccessSubscribe, Names: Names{First: true, Rest: true}, Flags: FlagSubscribed | FlagPushes,
		Summary: "Receive the messages of channels that match a glob", Reply: "push per pattern: psubscribe, pattern, count; then pmessage, pattern, channel, payload",
		Note: "only a pattern that begins with ipcd/ matches the daemon's own topics; ipcd/filter/, ipcd/filter-json/ and ipcd/group/LABEL/ are followed by a filter as in BUS.SUB, see Messages; a glob has at most 255 elements from its first wildcard to its last", Errors: []Code{CodeBadName}},
	{Name: "PUNSUBSCRIBE", Args: "[pattern …]", Min: 1, Family: FamilyRedis, Flags: FlagSubscribed | FlagPushes, Summary: "End PSUBSCRIBE for these patterns, or all",
		Reply: "push per pattern: punsubscribe, pattern or null, count"},
	{Name: "PUBSUB CHANNELS", Args: "[pattern]", Min: 2, Family: FamilyRedis, Flags: FlagSlow, Summary: "List the channels that have subscribers", Reply: "array",
		Note: "a pattern has at most 255 elements from its first wildcard to its last", Errors: []Code{CodeBadName}},
	{Name: "PUBSUB NUMSUB", Args: "[channel …]", Min: 2, Family: FamilyRedis, Flags: FlagSlow, Summary: "How many subscribers each channel has", Reply: "array: channel, count, …"},
	{Name: "PUBSUB NUMPAT", Min: 2, Max: 2, Family: FamilyRedis, Summary: "How many patterns are subscribed to", Reply: "integer"},
	{Name: "PUBSUB HELP", Min: 2, Max: 2, Family: FamilyRedis, Summary: "The subcommands of PUBSUB", Reply: "array of lines", Note: "of those that are here"},

	// The bus.
	{Name: "BUS.PUB", Args: "topic payload [RETAIN] [EXPIRES ms] [HEADER field value …] [FD sealed|open] [UNDER lock token] [MAYBLOCK ms] [REQID id]", Min: 3, Family: FamilyBus, Access: AccessPublish, Names: Names{First: true}, Flags: FlagFanOut | FlagDescriptors | FlagBlocks, Summary: "Publish a message",
		Reply: "map: seq, delivered (how many subscriptions got it), dropped (how many messages, this one or older ones, were dropped for it because subscriptions are too far behind)",
		Note:  "with MAYBLOCK it waits so long for receivers that would miss messages for it, and have not chosen to (SLOW), and is refused then, with who that is; with UNDER it is refused unless the token is that of a present hold of the lock, by the same user; with RETAIN it is the value of its topic from then on, until it expires, is cleared or another takes its place; HEADER may be there up to 32 times, and receivers are told of these and of EXPIRES; with FD a descriptor is sent along (SCM_RIGHTS), see Files", Errors: []Code{CodeBusy, CodeTimeout, CodeBadName, CodeNotFound, CodeDenied, CodeNoLock, CodeStale, CodeIO}},
	{Name: "BUS.SUB", Args: "filter [GROUP label [TAKE n] | [FD] [VALUES] [SLOW DROP|CONFLATE|DISCONNECT] [QUEUE n] [BYTES n]] [RAW]", Min: 2, Max: 11, Family: FamilyBus, Access: AccessSubscribe, Names: Names{First: true}, Flags: FlagSubscribed, Summary: "Receive the messages whose topic the filter matches",
		Reply:  "integer: this connection's subscriptions by BUS.SUB; then pushes bus.message, filter, topic, payload, seq, time, pid, uid, unit, count (its number among those of this filter, 0 of a value that the topic had before, and of what a member is given), and, if there is any of it, a map: group (the label, for a member), retained (1, of the value that the topic had before), expires (microseconds since 1970), ended (of a will: how its sender has ended), headers (a map), file (sealed or open) and size (-1 if it has none) of one that is beside it, fd (1 if a descriptor comes with the push); and bus.lost, filter, n in place of n messages that were dropped because the connection is too far behind; bus.conflated, filter, n in place of n that newer ones of their topics have replaced; bus.behind, filter, error before the end of the connection; for a member bus.lost, filter, n, and a map with group: so many messages are lost to the group",
		Note:   "with GROUP, each message goes to one of those who gave the same filter and label; with TAKE it is given n messages more, and none after them until BUS.SUB says TAKE again; with FD, which needs RESP3, files come with messages, see Files; with VALUES the values that topics have come also if the connection has the filter already; SLOW says what becomes of messages that wait because the connection is not read, of which there may be QUEUE n, with BYTES n: the oldest are dropped; only the last of each topic is kept; or the connection ends; on RESP2 only with RAW, for a client that knows these arrays; clients made for Redis use PSUBSCRIBE ipcd/filter/…, see Messages",
		Errors: []Code{CodeBadName}},
	{Name: "BUS.UNSUB", Args: "[filter [GROUP label]]", Min: 1, Max: 4, Family: FamilyBus, Flags: FlagSubscribed, Summary: "End BUS.SUB for this filter, or all", Reply: "integer: the subscriptions left", Errors: []Code{CodeNotFound}},

	{Name: "BUS.GET", Args: "topic", Min: 2, Max: 2, Family: FamilyBus, Access: AccessSubscribe, Names: Names{First: true}, Summary: "The value of a topic: what was published there last with RETAIN",
		Reply: "map: topic, payload, seq, time, pid, uid, unit, expires (milliseconds it lasts, -1 without end), ended (of a will: how its sender has ended, else empty), headers (a map); null if there is none", Errors: []Code{CodeBadName}},
	{Name: "BUS.LIST", Args: "[filter]", Min: 1, Max: 2, Family: FamilyBus, Flags: FlagSlow, Summary: "The topics that have a value and that the filter matches, or #",
		Reply: "array of maps, by topic: topic, size (bytes of the payload), seq, time, pid, uid, unit, expires, ended, headers", Errors: []Code{CodeBadName}},
	{Name: "BUS.CLEAR", Args: "topic [UNDER lock token]", Min: 2, Max: 5, Family: FamilyBus, Access: AccessPublish, Names: Names{First: true}, Summary: "Have a topic have no value",
		Reply: "integer: 1, or 0 if it had none", Note: "with UNDER it is refused unless the token is that of a present hold of the lock, by the same user", Errors: []Code{CodeBadName, CodeNoLock, CodeStale, CodeDenied}},

	{Name: "BUS.WILL", Args: "topic payload [RETAIN | CLEAR] [EXPIRES ms] [HEADER field value …] [FOR self|number|pid] [REQID id]", Min: 3, Family: FamilyBus, Access: AccessPublish, Names: Names{First: true}, Flags: FlagDescriptors,
		Summary: "Have a message be published when this connection has ended, or the process", Reply: "OK",
		Note: "it is from whom it is of, and says how that ended: see Messages; with RETAIN it is the value of its topic then, with CLEAR the topic has none any more, unless another process has published it; EXPIRES counts from when it is published; " +
			"with FOR self it is of the process, and with FOR and its own number, which needs no proof; with FOR pid it is of the process whose pidfd is sent along (SCM_RIGHTS); another will of the same for the same topic takes its place", Errors: []Code{CodeBadName, CodeNotFound, CodeDenied, CodeIO}},
	{Name: "BUS.UNWILL", Args: "topic [FOR self|number|pid] [REQID id]", Min: 2, Max: 6, Family: FamilyBus, Access: AccessPublish, Names: Names{First: true}, Flags: FlagDescriptors,
		Summary: "Take a will back", Reply: "integer: 1, or 0 if there was none", Errors: []Code{CodeBadName, CodeNotFound, CodeDenied, CodeIO}},

	{Name: "BUS.SERVE", Args: "filter [GROUP label] [COUNT n]", Min: 2, Max: 6, Family: FamilyBus, Access: AccessSubscribe, Names: Names{First: true}, Flags: FlagNoMulti,
		Summary: "Answer the requests whose topic the filter matches",
		Reply:   "integer: this connection's services; then pushes bus.request, id, filter, topic, payload, time, pid, uid, unit, deadline (microseconds since 1970, 0 without one), and, if there are any, a map with headers (a map), each to be answered by BUS.REPLY; bus.cancel, id if nobody waits for that answer any more; and bus.ready, id after WAIT or BUSY",
		Note:    "needs RESP3; with COUNT it ends after so many requests", Errors: []Code{CodeBadName}},
	{Name: "BUS.UNSERVE", Args: "[filter [GROUP label]]", Min: 1, Max: 4, Family: FamilyBus, Flags: FlagNoMulti, Summary: "End BUS.SERVE for this filter, or all",
		Reply: "integer: the services left", Note: "what is not answered by then is told to be REMOTE, or asked of another", Errors: []Code{CodeNotFound, CodeBadName}},
	{Name: "BUS.REQ", Args: "topic payload [TIMEOUT ms] [WAIT ms] [REPLIES n|ALL] [REPEATABLE] [HEADER field value …] [ENVELOPE] [ASYNC] [PARTS] [REQID id]", Min: 3, Family: FamilyBus, Access: AccessPublish, Names: Names{First: true},
		Flags: FlagBlocks | FlagNoMulti | FlagAsks, Summary: "Ask for an answer, and wait for it",
		Reply:  "the answer; with ENVELOPE a map: payload, headers, pid, uid, unit (of who has answered); with REPLIES an array of answers, in which one may be an error; with ASYNC an integer, the ticket, and later the push done, ticket, outcome; with PARTS before it a push for each part as it comes: bus.part, ticket, n (of which answer, from 1), answer (as far as it has not been told, or an error), more (1, or 0 if that answer is over), and the outcome is an integer: how many answers there were",
		Note:   "without WAIT it is NORESPONDERS at once if nobody serves the topic; with REPEATABLE another is asked if the responder goes; HEADER may be there up to 32 times; PARTS needs ASYNC, and does not go with REQID; with REPLIES above 1, payload and headers have at most 64 KiB",
		Errors: []Code{CodeBadName, CodeNotFound, CodeDenied, CodeNoResponders, CodeRemote, CodeTimeout, CodeBusy, CodeDeadlock, CodeCancelled, CodeShutdown}},
	{Name: "BUS.REPLY", Args: "id payload [MORE|ERROR] [HEADER field value …]", Min: 3, Family: FamilyBus, Summary: "Answer a request that this connection was sent",
		Reply: "OK; or WAIT, if who asks has not read what he was sent: the part is taken, and the next had better come after the push bus.ready", Note: "with MORE it is a part of the answer, and the next follows it; with ERROR, which does not go with HEADER, the payload says why there is no answer; BUSY if who asks has to read first: it may be sent again after bus.ready", Errors: []Code{CodeStale, CodeBusy}},
	{Name: "BUS.CANCEL", Args: "ticket", Min: 2, Max: 2, Family: FamilyBus, Summary: "Give up a request that this connection made with ASYNC", Reply: "integer: 1, or 0 if the outcome is known already"},

	// Locks.
	{Name: "LOCK.ACQUIRE", Args: "name [AND name …] [SHARED | EXCLUSIVE | UNITS n] [LIMIT n] [WAIT ms] [LEASE ms] [FOR self|number|pid|nobody|/cgroup] " +
		"[OWNER label] [WHY text] [WITH token name …] [JOIN token] [UNTOLD] [ASYNC] [REQID id]", Min: 2, Family: FamilyLock, Access: AccessLock,
		Names: Names{First: true, Options: []Option{
			{Word: "AND", Values: 1, Name: 1}, {Word: "WITH", Values: 2, Name: 2},
			{Word: "SHARED"}, {Word: "EXCLUSIVE"}, {Word: "UNTOLD"}, {Word: "ASYNC"},
		}},
		Flags:   FlagBlocks | FlagQueues | FlagDescriptors,
		Summary: "Wait for a lock, or for several at once, and take it",
		Reply: "map: name, token, mode, previous, abandoned; after AND also locks, an array of such maps in the order of the names; " +
			"with ASYNC an integer, the ticket, and later the push done, ticket, outcome",
		Note:   "FOR nobody goes with neither OWNER nor JOIN, FOR a cgroup not with OWNER, and JOIN not with AND; the texts of OWNER and WHY have at most 256 bytes",
		Errors: []Code{CodeBadName, CodeNotFound, CodeBusy, CodeTimeout, CodeDeadlock, CodeLimit, CodeDenied, CodeNoLock, CodeStale, CodeCancelled, CodeIO, CodeShutdown}},
	{Name: "LOCK.RELEASE", Args: "name [token] [PID number | FOR self|ancestor|pid|/cgroup] [UNTOLD] [REQID id]", Min: 2, Max: 8, Family: FamilyLock, Access: AccessLock, Names: Names{First: true}, Flags: FlagQueues | FlagDescriptors, Summary: "Give a lock back, or leave a hold that others share",
		Reply: "OK; with FOR an integer, the token of the hold", Note: "with UNTOLD, the next holder is told of the abandoned hold that this one was told of", Errors: []Code{CodeBadName, CodeNotFound, CodeNoLock, CodeStale, CodeDenied, CodeIO, CodeNotKept}},
	{Name: "LOCK.RENEW", Args: "name token [LEASE ms]", Min: 3, Max: 5, Family: FamilyLock, Access: AccessLock, Names: Names{First: true}, Flags: FlagQueues, Summary: "Make a lease end that long from now; without LEASE, as long from now as it was given last",
		Reply: "integer: how many milliseconds it lasts now", Errors: []Code{CodeBadName, CodeNoLock, CodeStale, CodeDenied, CodeNotKept}},
	{Name: "LOCK.DOWNGRADE", Args: "name token", Min: 3, Max: 3, Family: FamilyLock, Access: AccessLock, Names: Names{First: true}, Flags: FlagQueues, Summary: "Make an exclusive hold shared, with no other holder in between",
		Reply: "OK", Errors: []Code{CodeBadName, CodeNoLock, CodeStale, CodeDenied, CodeLimit, CodeNotKept}},
	{Name: "LOCK.TOLD", Args: "name token", Min: 3, Max: 3, Family: FamilyLock, Access: AccessLock, Names: Names{First: true}, Flags: FlagQueues, Summary: "Say that the caller has dealt with the abandoned hold that it was told of",
		Reply: "OK", Note: "undoes UNTOLD", Errors: []Code{CodeBadName, CodeNoLock, CodeStale, CodeDenied, CodeNotKept}},
	{Name: "LOCK.CHECK", Args: "name token", Min: 3, Max: 3, Family: FamilyLock, Access: AccessLook, Names: Names{First: true}, Summary: "Ask whether a token is that of a present hold, of any user", Reply: "OK",
		Errors: []Code{CodeBadName, CodeNoLock, CodeStale, CodeDenied}},
	{Name: "LOCK.FOLLOW", Args: "name token", Min: 3, Max: 3, Family: FamilyLock, Access: AccessLook, Names: Names{First: true}, Summary: "Be told on this connection when a hold, of any user, ends, and before its lease ends",
		Reply: "map: name, token, mode, bound, left (microseconds of its lease, -1 without one); then pushes lock.expiring and lock.lost, as for the connection that acquired it", Note: "needs RESP3",
		Errors: []Code{CodeBadName, CodeNoLock, CodeStale, CodeDenied}},
	{Name: "LOCK.BREAK", Args: "name [TOKEN token] [WHY text] [PIDFD] [REQID id]", Min: 2, Max: 9, Family: FamilyLock, Access: AccessBreak, Names: Names{First: true}, Flags: FlagSlow, Summary: "Take a lock away from its holders",
		Reply:  "array of maps, the former holders as LOCK.INFO shows them; with PIDFD each has pidfd, 1 if a descriptor of its process, or of the directory of its cgroup, comes with the reply (SCM_RIGHTS), in this order",
		Note:   "PIDFD does not go with REQID",
		Errors: []Code{CodeBadName, CodeNotFound, CodeNoLock, CodeStale, CodeDenied, CodeNotKept}},
	{Name: "LOCK.CANCEL", Args: "ticket", Min: 2, Max: 2, Family: FamilyLock, Summary: "End a wait of this connection", Reply: "integer: 1, or 0 if the outcome is known already"},
	{Name: "LOCK.ISDONE", Args: "key PER boot|day|ever", Min: 4, Max: 4, Family: FamilyLock, Access: AccessLook, Names: Names{First: true}, Summary: "Ask whether something was done already in this boot, on this day, or ever",
		Reply: "map: at (microseconds since 1970), uid, pid; null if it was not", Errors: []Code{CodeBadName, CodeDenied}},
	{Name: "LOCK.DONE", Args: "key token PER boot|day|ever [REQID id]", Min: 5, Max: 7, Family: FamilyLock, Access: AccessLock, Names: Names{First: true}, Flags: FlagQueues, Summary: "Mark as done what the lock of the same name is held for",
		Reply: "OK, after it is on disk", Errors: []Code{CodeBadName, CodeNotFound, CodeNoLock, CodeStale, CodeDenied, CodeIO}},
	{Name: "LOCK.FORGET", Args: "key [REQID id]", Min: 2, Max: 4, Family: FamilyLock, Access: AccessLock, Names: Names{First: true}, Flags: FlagQueues, Summary: "Remove the marks of a key: of the caller's user, or of all if that is root",
		Reply: "integer: how many", Errors: []Code{CodeBadName, CodeNotFound, CodeDenied, CodeNotKept}},
	{Name: "LOCK.INFO", Args: "name", Min: 2, Max: 2, Family: FamilyLock, Access: AccessLook, Names: Names{First: true}, Flags: FlagSlow, Summary: "Show who holds a lock, who waits for it, and how it was last given back",
		Reply: "map: name, mode, limit, used, holders, waiters, previous, abandoned; of each holder and waiter also client, the connection, and stopped, what keeps its process from running (signal, debugger, freezer, or empty)", Errors: []Code{CodeBadName, CodeDenied}},
	{Name: "LOCK.LIST", Min: 1, Max: 1, Family: FamilyLock, Flags: FlagSlow, Summary: "Show every lock that is held or waited for", Reply: "array of maps as of LOCK.INFO, by name; stopped is found out for the first waiter only"},

	// The daemon.
	{Name: "IPCD.STATUS", Min: 1, Max: 1, Family: FamilyAdmin, Flags: FlagSlow, Summary: "Show the daemon's state", Reply: "map: see The daemon's state"},
	{Name: "IPCD.RELOAD", Min: 1, Max: 1, Family: FamilyAdmin, Access: AccessAdmin, Flags: FlagBlocks, Summary: "Read the configuration again",
		Reply: "OK, after it is in force", Errors: []Code{CodeConfig, CodeDenied}},
	{Name: "IPCD.PROVE", Min: 1, Max: 1, Family: FamilyAdmin, Flags: FlagDescriptors | FlagNoMulti, Summary: "Prove to be the process that connected, by a pidfd that is sent along (SCM_RIGHTS)",
		Reply: "OK; from then on FOR self is allowed on this connection", Errors: []Code{CodeNotFound, CodeDenied, CodeIO}},
}

// FindCommand looks up a row by its name, in any case; a subcommand's has one space.
func FindCommand(name string) (*Command, bool) {
	name = strings.ToUpper(name)
	for i := range Commands {
		if Commands[i].Name == name {
			return &Commands[i], true
		}
	}
	return nil, false
}

// Takes reports whether there may be so many words, the name's included.
func (c *Command) Takes(words int) bool { return words >= c.Min && (c.Max <= 0 || words <= c.Max) }

// Arity is the number of words as Redis's COMMAND gives it: negative where it is the least.
func (c *Command) Arity() int {
	if c.Max == c.Min {
		return c.Min
	}
	return -c.Min
}

// NearestCommand is the name of the table most like name, or "" if none is near.
func NearestCommand(name string) string {
	names := make([]string, len(Commands))
	for i := range Commands {
		names[i] = Commands[i].Name
	}
	return nearest.Word(strings.ToUpper(name), names)
}
