"""redis-py through the proxy, as an application uses it: no cluster client, default protocol.

usage: redis_py.py PORT
"""

import sys
import threading
import time

import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from harness import check, failover, place


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


def transactions(r):
    r.delete("{py}a", "{py}b")
    with r.pipeline() as pipe:
        pipe.set("{py}a", 1).incr("{py}a").lpush("{py}b", "x").get("{py}a")
        check("multi and exec", pipe.execute(), [True, 2, 1, "2"])
    with r.pipeline() as pipe:
        pipe.watch("{py}a")
        value = int(pipe.get("{py}a"))
        pipe.multi()
        pipe.set("{py}a", value * 10)
        check("watch, unchanged", pipe.execute(), [True])
    with r.pipeline() as pipe:
        pipe.watch("{py}a")
        with redis.Redis(**place()) as other:
            other.set("{py}a", "changed")
        pipe.multi()
        pipe.set("{py}a", "lost")
        try:
            pipe.execute()
            sys.exit("a transaction on a key that had changed was executed")
        except redis.WatchError:
            check("watch, changed", r.get("{py}a"), "changed")


def blocking(r):
    r.delete("py:queue", "{py}from", "{py}to")
    check("blpop in vain", r.blpop("py:queue", timeout=0.1), None)
    pusher = threading.Timer(0.3, lambda: redis.Redis(**place()).rpush("py:queue", "pushed"))
    pusher.start()
    popped = r.blpop("py:queue", timeout=10)
    check("blpop of what another client pushes", tuple(popped), ("py:queue", "pushed"))
    pusher.join()
    r.rpush("{py}from", "x")
    check("blmove", r.blmove("{py}from", "{py}to", timeout=1), "x")
    added = threading.Timer(0.3, lambda: redis.Redis(**place()).xadd("py:events", {"f": "v"}, id="7-1"))
    r.delete("py:events")
    added.start()
    entries = r.xread({"py:events": "$"}, block=10000)
    check("xread of what another client adds", "7-1" in str(entries), True)
    added.join()


def locks(r):
    with r.lock("py:lock", timeout=10):
        check("a lock that is held", r.lock("py:lock", timeout=10).acquire(blocking=False), False)
    lock = r.lock("py:lock", timeout=10)
    check("a lock that is free", lock.acquire(blocking=False), True)
    check("its extension", lock.extend(10), True)
    lock.release()


def publish_and_subscribe(r):
    with redis.Redis(**place(), decode_responses=True).pubsub() as subscriber:
        subscriber.subscribe("py:news")
        subscriber.psubscribe("py:p*")
        for kind in ("subscribe", "psubscribe"):
            check(kind, subscriber.get_message(timeout=5)["type"], kind)
        check("publish", r.publish("py:news", "one"), 1)
        check("message", subscriber.get_message(timeout=5)["data"], "one")
        check("publish to a pattern", r.publish("py:paper", "two"), 1)
        message = subscriber.get_message(timeout=5)
        check("pmessage", (message["type"], message["channel"], message["data"]), ("pmessage", "py:paper", "two"))
        subscriber.unsubscribe("py:news")
        check("unsubscribe", subscriber.get_message(timeout=5)["type"], "unsubscribe")
        check("publish to nobody", r.publish("py:news", "three"), 0)


def scan(r):
    expected = {f"py:scan:{number}" for number in range(500)}
    with r.pipeline(transaction=False) as pipe:
        [pipe.set(key, "x") for key in expected]
        pipe.execute()
    check("scan", set(r.scan_iter("py:scan:*", count=50)), expected)


def registered_script(r):
    script = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    r.delete("py:script")
    check("script", script(keys=["py:script"], args=[5]), 5)
    r.script_flush()
    check("script after a flush", script(keys=["py:script"], args=[5]), 10)


def while_a_master_fails_over(r):
    """A planned failover shows no error, and nothing is lost."""
    stop, counts, errors = threading.Event(), [0] * 4, []

    def work(index):
        with redis.Redis(**place(), retry=None) as own:
            while not stop.is_set():
                for number in range(20):
                    try:
                        own.incr(f"py:count:{index}:{number}")
                        counts[index] += 1
                    except redis.RedisError as error:
                        errors.append(error)
                        return

    r.delete(*(f"py:count:{index}:{number}" for index in range(4) for number in range(20)))
    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    [thread.start() for thread in threads]
    failover()
    stop.set()
    [thread.join() for thread in threads]
    check("errors while a master fails over", errors, [])
    found = [sum(map(int, r.mget([f"py:count:{index}:{number}" for number in range(20)]))) for index in range(4)]
    check("what was counted meanwhile", found, counts)


def eventually(what, ask, expected):
    """What another client has changed is told by a push, which comes a moment later."""
    for _ in range(1000):
        got = ask()
        if got == expected:
            break
        time.sleep(0.01)
    check(what, got, expected)


def client_side_cache(r):
    """redis-py's own cache, which lives by CLIENT TRACKING."""
    # It takes servers from 7.4 on only. The nodes of this test may be older; what it asks of them is the same.
    CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"
    keys = [f"py:cached:{number}" for number in range(100)]
    r.mset({key: "old" for key in keys})
    with redis.Redis(**place(), protocol=3, cache_config=CacheConfig(), decode_responses=True) as own:
        check("reads that fill the cache", [own.get(key) for key in keys], ["old"] * 100)
        check("what is cached", len(own.get_cache().collection), 100)
        asked = r.info("commandstats")["cmdstat_get"]["calls"]
        check("reads from the cache", [own.get(key) for key in keys], ["old"] * 100)
        check("requests for them", r.info("commandstats")["cmdstat_get"]["calls"] - asked, 0)
        r.mset({key: "new" for key in keys})
        eventually("after others have written", lambda: [own.get(key) for key in keys], ["new"] * 100)
        own.set(keys[0], "own")
        eventually("after its own write", lambda: own.get(keys[0]), "own")
        r.delete(*keys)
        eventually("after others have deleted", lambda: [own.get(key) for key in keys], [None] * 100)


def clients(r):
    check("client setname", r.client_setname("py"), True)
    check("client getname", r.client_getname(), "py")
    check("client id", r.client_id() > 0, True)


def main():
    for name, options in [("default protocol", {}), ("protocol 3", {"protocol": 3}), ("protocol 2", {"protocol": 2})]:
        print(f"-- redis-py {redis.__version__}, {name}")
        with redis.Redis(**place(), decode_responses=True, single_connection_client=True, **options) as r:
            basics(r)
            many_keys(r)
            pipelines(r)
            structures(r)
            scripts_and_errors(r)
            registered_script(r)
            transactions(r)
            blocking(r)
            locks(r)
            publish_and_subscribe(r)
            scan(r)
            clients(r)
    with redis.Redis(**place(), decode_responses=True) as r:
        client_side_cache(r)
        while_a_master_fails_over(r)


main()
