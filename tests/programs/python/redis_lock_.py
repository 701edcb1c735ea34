"""python-redis-lock: five threads that exclude each other, renewal, reset. NAME: the lock's."""
import os
import threading
import time

import redis
import redis_lock
from common import PORT

name = os.environ.get("NAME", "job")
total = [0]


def work():
    for _ in range(10):
        with redis_lock.Lock(redis.StrictRedis(port=PORT), name, expire=10, auto_renewal=False):
            before = total[0]
            time.sleep(0.001)
            total[0] = before + 1


threads = [threading.Thread(target=work) for _ in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert total[0] == 50, total
lock = redis_lock.Lock(redis.StrictRedis(port=PORT), name, expire=2, auto_renewal=True)
lock.acquire()
time.sleep(2.5)
assert lock.locked()
lock.release()
print("ok")
