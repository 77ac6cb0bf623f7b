package wire

import "strings"

// RedisVersion is the version of Redis whose behaviour is followed, and compared with in tests.
const RedisVersion = "7.0.15"

// Absent are commands of Redis that are not here, for one reason.
type Absent struct {
	Why   string
	Names string // as COMMAND LIST has them, apart by blanks
}

// NotHere are all commands of Redis that are no rows of the command table. docs/redis.md is made from both.
var NotHere = []Absent{
	{"this is no cluster, and every CLUSTER command says so", "cluster|addslots cluster|addslotsrange cluster|bumpepoch cluster|count-failure-reports cluster|countkeysinslot " +
		"cluster|delslots cluster|delslotsrange cluster|failover cluster|flushslots cluster|forget " +
		"cluster|getkeysinslot cluster|help cluster|info cluster|keyslot cluster|links cluster|meet cluster|myid " +
		"cluster|nodes cluster|replicas cluster|replicate cluster|reset cluster|saveconfig cluster|set-config-epoch " +
		"cluster|setslot cluster|shards cluster|slaves cluster|slots"},
	{"there are no keys of which clients could keep copies", "client|caching client|getredir client|trackinginfo"},
	{"a client cannot make the others wait", "client|pause client|unpause"},
	{"LOCK.CANCEL ends a wait of the own connection, CLIENT KILL another connection with its waits", "client|unblock"},
	{"the configuration is a file, ipcd.toml(5), which IPCD.RELOAD reads again", "config|resetstat config|rewrite config|set"},
	{"there are no shards: PUBLISH and SUBSCRIBE are for all", "pubsub|shardchannels pubsub|shardnumsub spublish ssubscribe sunsubscribe"},
	{"the kernel says who a client is, and there are no rules yet for who may do what", "acl acl|cat acl|deluser acl|dryrun acl|genpass acl|getuser acl|help acl|list acl|load acl|log acl|save " +
		"acl|setuser acl|users acl|whoami"},
	{"no code of clients runs in the daemon", "eval eval_ro evalsha evalsha_ro fcall fcall_ro function function|delete function|dump function|flush " +
		"function|help function|kill function|list function|load function|restore function|stats module module|help " +
		"module|list module|load module|loadex module|unload script script|debug script|exists script|flush script|help " +
		"script|kill script|load"},
	{"there is one daemon on one machine, without replicas", "failover psync replconf replicaof slaveof sync wait"},
	{"what has to outlive the daemon is kept before the reply", "bgrewriteaof bgsave lastsave save"},
	{"the service manager stops the daemon", "shutdown"},
	{"commands of other clients are not shown: see the events under ipcd/, and the journal", "monitor slowlog slowlog|get slowlog|help slowlog|len slowlog|reset"},
	{"the daemon does not measure this: see IPCD.STATUS and INFO", "debug latency latency|doctor latency|graph latency|help latency|histogram latency|history latency|latest " +
		"latency|reset lolwut memory memory|doctor memory|help memory|malloc-stats memory|purge memory|stats " +
		"memory|usage pfdebug pfselftest"},
	{"there are no keys", "append bitcount bitfield bitfield_ro bitop bitpos blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax " +
		"bzpopmin copy decr decrby del dump exists expire expireat expiretime geoadd geodist geohash geopos georadius " +
		"georadius_ro georadiusbymember georadiusbymember_ro geosearch geosearchstore get getbit getdel getex getrange " +
		"getset hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx " +
		"hstrlen hvals incr incrby incrbyfloat keys lcs lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange " +
		"lrem lset ltrim mget migrate move mset msetnx object object|encoding object|freq object|help object|idletime " +
		"object|refcount persist pexpire pexpireat pexpiretime pfadd pfcount pfmerge psetex pttl randomkey rename " +
		"renamenx restore restore-asking rpop rpoplpush rpush rpushx sadd scan scard sdiff sdiffstore set setbit setex " +
		"setnx setrange sinter sintercard sinterstore sismember smembers smismember smove sort sort_ro spop srandmember " +
		"srem sscan strlen substr sunion sunionstore swapdb touch ttl type unlink xack xadd xautoclaim xclaim xdel " +
		"xgroup xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|help xgroup|setid xinfo " +
		"xinfo|consumers xinfo|groups xinfo|help xinfo|stream xlen xpending xrange xread xreadgroup xrevrange xsetid " +
		"xtrim zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax " +
		"zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex zremrangebyrank " +
		"zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore"},
}

// WhyNotHere says why there is no such command of Redis. It is "" if Redis has none either.
func WhyNotHere(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), " ", "|")
	for _, group := range NotHere {
		for n := range strings.FieldsSeq(group.Names) {
			if n == name {
				return group.Why
			}
		}
	}
	return ""
}
