"""aiocache: values, many at once, a counter, a lock, CLEAR of a namespace."""
import asyncio

from aiocache import Cache
from aiocache.lock import RedLock
from common import PORT


async def main():
    cache = Cache(Cache.REDIS, endpoint="127.0.0.1", port=PORT, namespace="n")
    await cache.set("a", 1)
    assert await cache.get("a") in (1, "1")
    await cache.multi_set([(f"k{i}", i) for i in range(50)])
    assert None not in await cache.multi_get([f"k{i}" for i in range(50)])
    await cache.multi_set([(f"t{i}", i) for i in range(50)], ttl=60)
    assert await cache.increment("count", 2) == 2
    async with RedLock(cache, "lock", lease=2):
        pass
    await cache.clear(namespace="n")
    assert not await cache.exists("k1")
    await cache.close()


asyncio.run(main())
print("ok")
