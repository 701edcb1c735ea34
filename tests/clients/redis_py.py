"""redis-py through the proxy, as an application uses it: no cluster client, default protocol.

usage: redis_py.py PORT
"""

import sys

import redis


def check(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got!r}, expected {expected!r}")
    print(f"{what}: ok")


def basics(r):
    check("ping", r.ping(), True)
    check("set", r.set("py:a", "1"), True)
    check("get", r.get("py:a"), "1")
    check("get of nothing", r.get("py:none"), None)
    check("incr", r.incr("py:a", 41), 42)
    check("set with expiry", r.set("py:expiring", "x", ex=100), True)
    check("ttl", 0 < r.ttl("py:expiring") <= 100, True)
    check("bytes", r.set("py:bytes", bytes(range(256))), True)
    check("strlen", r.strlen("py:bytes"), 256)


def many_keys(r):
    keys = [f"py:key:{number}" for number in range(100)]
    check("mset over all slots", r.mset({key: key.upper() for key in keys}), True)
    check("mget over all slots", r.mget(keys), [key.upper() for key in keys])
    check("mget with a gap", r.mget(keys[0], "py:none", keys[1]), [keys[0].upper(), None, keys[1].upper()])
    check("exists", r.exists(*keys, "py:none"), 100)
    check("touch", r.touch(*keys), 100)
    check("unlink", r.unlink(*keys[:50]), 50)
    check("delete", r.delete(*keys), 50)


def pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"py:pipe:{number}", number)
            pipe.get(f"py:pipe:{number}")
        check("pipeline", pipe.execute(), [reply for number in range(1000) for reply in (True, str(number))])
    with r.pipeline(transaction=False) as pipe:
        pipe.set("py:text", "x").incr("py:text").get("py:text")
        replies = pipe.execute(raise_on_error=False)
        check("an error within a pipeline", type(replies[1]).__name__, "ResponseError")
        check("and what is around it", [replies[0], replies[2]], [True, "x"])


def structures(r):
    r.delete("py:hash", "py:list", "py:set", "py:zset", "py:stream", "py:big")
    check("hset", r.hset("py:hash", mapping={"a": "1", "b": "2"}), 2)
    check("hgetall", r.hgetall("py:hash"), {"a": "1", "b": "2"})
    check("rpush", r.rpush("py:list", "a", "b", "c"), 3)
    check("lrange", r.lrange("py:list", 0, -1), ["a", "b", "c"])
    check("sadd", r.sadd("py:set", "a", "b"), 2)
    check("smembers", r.smembers("py:set"), {"a", "b"})
    check("zadd", r.zadd("py:zset", {"a": 1.5, "b": 2}), 2)
    check("zscore", r.zscore("py:zset", "a"), 1.5)
    check("zrange", [tuple(pair) for pair in r.zrange("py:zset", 0, -1, withscores=True)], [("a", 1.5), ("b", 2.0)])
    check("xadd", r.xadd("py:stream", {"field": "value"}, id="1-1"), "1-1")
    check("xrange", [tuple(entry) for entry in r.xrange("py:stream")], [("1-1", {"field": "value"})])
    r.hset("py:big", mapping={f"field{number}": number for number in range(1000)})
    check("hscan", len(dict(r.hscan_iter("py:big", count=50))), 1000)
    check("sscan", set(r.sscan_iter("py:set")), {"a", "b"})


def scripts_and_errors(r):
    check("eval", r.eval("return redis.call('GET', KEYS[1])", 1, "py:a"), "42")
    try:
        r.lpush("py:a", "x")
        sys.exit("a command for the wrong type was accepted")
    except redis.ResponseError as error:
        check("the server's own error", str(error).startswith("WRONGTYPE"), True)
    check("the connection after it", r.get("py:a"), "42")


def clients(r):
    check("client setname", r.client_setname("py"), True)
    check("client getname", r.client_getname(), "py")
    check("client id", r.client_id() > 0, True)


def main():
    port = int(sys.argv[1])
    for name, options in [("default protocol", {}), ("protocol 3", {"protocol": 3}), ("protocol 2", {"protocol": 2})]:
        print(f"-- redis-py {redis.__version__}, {name}")
        with redis.Redis(port=port, decode_responses=True, single_connection_client=True, **options) as r:
            basics(r)
            many_keys(r)
            pipelines(r)
            structures(r)
            scripts_and_errors(r)
            clients(r)


main()
