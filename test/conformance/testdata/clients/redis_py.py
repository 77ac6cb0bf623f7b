"""redis-py: python3 redis_py.py SOCKET [filters]"""
import asyncio
import json
import os
import sys

import redis
import redis.asyncio

socket, filters = sys.argv[1], len(sys.argv) > 2

# Channels that are anything but topics, and one that is one.
NAMES = [b"a/b", b"socket.io#/#", b"+", b"a/#", b"", b"\x00", b"a\r\nb", b"\xff\xfe", b"x" * 1000]


def check(what, got, want=True):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


def fields(message):
    return [message[key] for key in ("type", "pattern", "channel", "data")]


def delivered(reply):
    return dict(zip(reply[::2], reply[1::2]))[b"delivered"]


def sync():
    r = redis.Redis(unix_socket_path=socket)
    sub = r.pubsub()
    check("ping", r.ping())

    def get():
        return fields(sub.get_message(timeout=20))

    for name in NAMES:
        sub.subscribe(name)
        check("confirmed", get(), ["subscribe", None, name, 1])
        check("published", r.publish(name, "héllo"), 1)
        check("message", get(), ["message", None, name, "héllo".encode()])
        sub.unsubscribe(name)
        check("ended", get(), ["unsubscribe", None, name, 0])
    sub.psubscribe("socket.io#/#*")
    get()
    r.publish("socket.io#/#room#", b"\xff\x00")
    check("glob", get(), ["pmessage", b"socket.io#/#*", b"socket.io#/#room#", b"\xff\x00"])
    if filters:
        handled = []
        sub.psubscribe(**{"ipcd/filter/deploy/#": handled.append})
        get()
        sub.psubscribe("ipcd/filter-json/deploy/+")
        get()
        check("to both", delivered(r.execute_command("BUS.PUB", "deploy/web", "done")), 2)
        check("to the handler", sub.get_message(timeout=20), None)
        check("filter", fields(handled[0]), ["pmessage", b"ipcd/filter/deploy/#", b"deploy/web", b"done"])
        kind, pattern, topic, data = get()
        check("envelope", [kind, pattern, topic], ["pmessage", b"ipcd/filter-json/deploy/+", b"deploy/web"])
        envelope = json.loads(data)
        check("inside", [envelope["pid"], envelope["uid"], envelope["payload"]], [os.getpid(), os.getuid(), "done"])
        try:
            r.execute_command("BUS.SUB", "a/#")
            sys.exit("BUS.SUB is not refused")
        except redis.ResponseError as e:
            check("it says what to do", "PSUBSCRIBE ipcd/filter/" in str(e))
        sub.punsubscribe("ipcd/filter/deploy/#", "ipcd/filter-json/deploy/+")
        get()
        get()
        check("to none", delivered(r.execute_command("BUS.PUB", "deploy/web", "done")), 0)
        r.execute_command("BUS.PUB", "deploy/web", "kept", "RETAIN")
        sub.psubscribe("ipcd/filter-json/deploy/+")
        get()
        envelope = json.loads(get()[3])
        check("value", [envelope["retained"], envelope["payload"]], [True, "kept"])
        r.execute_command("BUS.CLEAR", "deploy/web")
        sub.punsubscribe("ipcd/filter-json/deploy/+")
        get()
    sub.subscribe("after")
    get()
    r.publish("after", "all")
    check("after all", get(), ["message", None, b"after", b"all"])
    sub.close()


async def asynchronous():
    r = redis.asyncio.Redis(unix_socket_path=socket)
    sub = r.pubsub()

    async def get():
        message = await sub.get_message(timeout=20)
        return message and fields(message)

    for name in NAMES:
        await sub.subscribe(name)
        check("confirmed", (await get())[0], "subscribe")
        check("published", await r.publish(name, "héllo"), 1)
        check("message", await get(), ["message", None, name, "héllo".encode()])
        await sub.unsubscribe(name)
        check("ended", (await get())[0], "unsubscribe")
    patterns = ["socket.io#/#*"] + (["ipcd/filter/deploy/#", "ipcd/filter-json/deploy/+"] if filters else [])
    await sub.psubscribe(*patterns)
    for _ in patterns:
        await get()
    await r.publish("socket.io#/#", "x")
    check("glob", await get(), ["pmessage", b"socket.io#/#*", b"socket.io#/#", b"x"])
    if filters:
        await r.execute_command("BUS.PUB", "deploy/web", "done")
        got = [await get(), await get()]
        check("filter", got[0], ["pmessage", b"ipcd/filter/deploy/#", b"deploy/web", b"done"])
        check("envelope", [got[1][1], json.loads(got[1][3])["pid"]], [b"ipcd/filter-json/deploy/+", os.getpid()])
    await sub.unsubscribe()
    await r.close()


sync()
asyncio.run(asynchronous())
print("all is as it should be")
