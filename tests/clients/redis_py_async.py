"""redis-py's asyncio client through the proxy.

usage: redis_py_async.py PORT
"""

import asyncio
import sys

import redis
import redis.asyncio

from harness import check, failover, place


def connect(**options):
    return redis.asyncio.Redis(**place(), decode_responses=True, **options)


async def many_at_once(r):
    async def one(number):
        await r.set(f"async:{number}", number)
        return await r.get(f"async:{number}")

    got = await asyncio.gather(*(one(number) for number in range(80)))
    check("80 tasks at once", got, [str(number) for number in range(80)])
    pipe = r.pipeline(transaction=False)
    [pipe.get(f"async:{number}") for number in range(80)]
    check("pipeline", await pipe.execute(), got)
    check("mget over all slots", await r.mget([f"async:{number}" for number in range(80)]), got)


async def transactions(r):
    await r.delete("{async}a")
    async with r.pipeline(transaction=True) as pipe:
        check("multi and exec", await pipe.set("{async}a", 1).incr("{async}a").execute(), [True, 2])
    async with r.pipeline(transaction=True) as pipe:
        await pipe.watch("{async}a")
        await r.set("{async}a", "changed")
        pipe.multi()
        pipe.set("{async}a", "lost")
        try:
            await pipe.execute()
            sys.exit("a transaction on a key that had changed was executed")
        except redis.WatchError:
            check("watch, changed", await r.get("{async}a"), "changed")

    async def increment():
        await r.transaction(lambda pipe: bump(pipe), "{async}n", value_from_callable=False)

    async def bump(pipe):
        value = int(await pipe.get("{async}n") or 0)
        pipe.multi()
        pipe.set("{async}n", value + 1)

    await r.delete("{async}n")
    await asyncio.gather(*(increment() for _ in range(20)))
    check("20 tasks that watch one key", await r.get("{async}n"), "20")


async def blocking(r):
    await r.delete("async:queue")
    waiting = asyncio.create_task(r.blpop("async:queue", timeout=10))
    await asyncio.sleep(0.2)
    await r.rpush("async:queue", "x")
    check("blpop of what another connection pushes", tuple(await waiting), ("async:queue", "x"))


async def publish_and_subscribe(r):
    async with r.pubsub() as subscriber:
        await subscriber.subscribe("async:news")
        await subscriber.get_message(timeout=5)
        check("publish", await r.publish("async:news", "one"), 1)
        message = await subscriber.get_message(timeout=5)
        check("message", message["data"], "one")


async def scripts_and_scan(r):
    script = r.register_script("return redis.call('GET', KEYS[1])")
    check("script", await script(keys=["async:7"]), "7")
    found = {key async for key in r.scan_iter("async:*", count=50)}
    check("scan", {f"async:{number}" for number in range(80)} <= found, True)


async def while_a_master_fails_over(r):
    counts, going = [0] * 8, True

    async def work(index):
        while going:
            await r.incr(f"async:count:{index}")
            counts[index] += 1

    await r.delete(*(f"async:count:{index}" for index in range(8)))
    tasks = [asyncio.create_task(work(index)) for index in range(8)]
    await asyncio.get_running_loop().run_in_executor(None, failover)
    going = False
    await asyncio.gather(*tasks)
    found = await r.mget([f"async:count:{index}" for index in range(8)])
    check("what was counted while a master failed over", list(map(int, found)), counts)


async def main():
    for protocol in (2, 3):
        print(f"-- redis-py {redis.__version__}, asyncio, protocol {protocol}")
        async with connect(protocol=protocol) as r:
            await many_at_once(r)
            await transactions(r)
            await blocking(r)
            await publish_and_subscribe(r)
            await scripts_and_scan(r)
    async with connect(retry=None) as r:
        await while_a_master_fails_over(r)


asyncio.run(main())
