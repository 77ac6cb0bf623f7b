# usage: redis-py.py SOCKET
#
# What programs do with redis-py, which has transactions unless it is told otherwise.
import asyncio
import json
import sys

import redis
import redis.asyncio

socket = sys.argv[1]
r = redis.Redis(unix_socket_path=socket, decode_responses=True)

# An ordinary pipeline.
sub = r.pubsub()
sub.subscribe("news")
assert sub.get_message(timeout=20)["type"] == "subscribe"
with r.pipeline() as p:
    p.publish("news", "1").publish("news", "2").echo("x").execute_command("LOCK.ACQUIRE", "job", "WHY", "a test")
    p.execute_command("LOCK.ACQUIRE", "job", "OWNER", "other")
    got = p.execute(raise_on_error=False)
assert got[:3] == [1, 1, "x"] and got[3][1] == "job", got
assert isinstance(got[4], redis.ResponseError) and str(got[4]).startswith("BUSY "), got
assert [sub.get_message(timeout=20)["data"] for _ in range(2)] == ["1", "2"]

# One that cannot be done is not begun.
try:
    with r.pipeline() as p:
        p.publish("news", "3").get("key").execute()
    raise AssertionError("no error")
except redis.ResponseError as e:
    assert "unknown command" in str(e), e
r.publish("news", "4")
assert sub.get_message(timeout=20)["data"] == "4"

# Without a transaction, and with keys that are watched.
with r.pipeline(transaction=False) as p:
    assert p.ping().echo("y").execute() == [True, "y"]
assert r.transaction(lambda p: (p.multi(), p.publish("news", "5")), "key") == [1]
assert sub.get_message(timeout=20)["data"] == "5"

# What is looked up by name in what a server says of itself.
for line in r.client_list():
    for field in "id addr laddr fd name age idle flags db sub psub multi qbuf qbuf-free argv-mem obl oll omem tot-mem events cmd user redir".split():
        line[field]
assert r.client_info()["multi"] == -1
info = r.info()
assert info["redis_version"].startswith("7.") and info["server_name"] == "ipcd" and info["used_memory"] > 0, info
assert r.dbsize() == 0 and r.flushall() and r.flushdb() and r.role()[0] == "master"
assert r.command_count() > 0 and r.config_get("maxmemory") == {}


# Several share what they psubscribe to in a group: each message is one's.
workers = [r.pubsub() for _ in range(2)]
for w in workers:
    w.psubscribe("ipcd/group/workers/jobs/#")
    assert w.get_message(timeout=20)["type"] == "psubscribe"
for n in range(4):
    assert r.publish("jobs/a", n) == 1
for n, w in enumerate(workers * 2):
    m = w.get_message(timeout=20)
    job = json.loads(m["data"])
    assert (m["type"], m["channel"], job["group"], job["payload"]) == ("pmessage", "jobs/a", "workers", str(n)), m
for w in workers:
    w.close()


async def main():
    r = redis.asyncio.Redis(unix_socket_path=socket, decode_responses=True)
    async with r.pipeline() as p:
        assert await p.publish("news", "6").echo("z").execute() == [1, "z"]
    assert (await r.client_list())[0]["laddr"]
    await r.close()


asyncio.run(main())
assert sub.get_message(timeout=20)["data"] == "6"
print("done")
