"""Pottery: Redlock over one server, dicts, sets, lists, deques, a counter, a Bloom filter, an id."""
from common import PORT
from pottery import BloomFilter, NextID, RedisCounter, RedisDeque, RedisDict, RedisList, RedisSet, Redlock
from redis import Redis

redis = Redis(port=PORT)
lock = Redlock(key="work", masters={redis}, auto_release_time=5)
with lock:
    assert lock.locked()
assert RedisDict({"a": 1}, redis=redis, key="dict")["a"] == 1
assert 2 in RedisSet({1, 2}, redis=redis, key="set")
numbers = RedisList([1, 2, 3], redis=redis, key="list")
numbers.append(4)
assert list(numbers) == [1, 2, 3, 4]
assert RedisDeque([1, 2], redis=redis, key="deque").pop() == 2
assert RedisCounter("aab", redis=redis, key="counter")["a"] == 2
bloom = BloomFilter(num_elements=100, false_positives=0.01, redis=redis, key="bloom")
bloom.add("x")
assert "x" in bloom
assert next(NextID(key="ids", masters={redis})) == 1
print("ok")
