"""channels_redis, the layers of Django Channels. KIND: core or pubsub. PREFIX: the prefix of its keys."""
import asyncio
import os

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from common import URL


async def main():
    layer = {"core": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}[os.environ["KIND"]]
    options = {"hosts": [URL]}
    if prefix := os.environ.get("PREFIX"):
        options["prefix"] = prefix
    one, two = layer(**options), layer(**options)
    name = await one.new_channel()
    await two.send(name, {"type": "x", "value": 1})
    assert (await asyncio.wait_for(one.receive(name), 10))["value"] == 1
    names = [await one.new_channel() for _ in range(10)]
    for name in names:
        await one.group_add("group", name)
    await asyncio.sleep(0.3)
    await two.group_send("group", {"type": "x", "value": 2})
    for name in names:
        assert (await asyncio.wait_for(one.receive(name), 10))["value"] == 2
    for name in names:
        await one.group_discard("group", name)
    await one.flush()


asyncio.run(main())
print("ok")
