"""walrus: containers, a cache, a rate limit, a lock, a consumer group."""
import walrus
from common import PORT

db = walrus.Database(port=PORT)
db.Hash("h").update(a=1)
db.ZSet("z").add({"x": 1})
db.List("l").append(1)
cache = db.cache()
cache.set("k", 1, 10)
assert cache.get("k") == 1
limit = db.rate_limit("r", limit=5, per=60)
assert sum(not limit.limit("u") for _ in range(8)) == 5
with db.lock("lk", ttl=5000):
    pass
group = db.consumer_group("g", ["s1"])
group.create()
db.Stream("s1").add({"d": "1"})
assert group.read()
print("ok")
