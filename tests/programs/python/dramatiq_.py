"""Dramatiq with its Redis broker and results. NAMESPACE: the broker's."""
import os

import common
import dramatiq
from common import URL, Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=URL, namespace=os.environ.get("NAMESPACE", "dramatiq"))
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def square(number):
    return number * number


@dramatiq.actor(store_results=True, max_retries=5, min_backoff=50, max_backoff=100)
def flaky(key):
    return common.fails_twice(key)


def main():
    messages = [square.send(number) for number in range(200)]
    results = [message.get_result(block=True, timeout=20000) for message in messages]
    assert results == [number * number for number in range(200)]
    assert square.send_with_options(args=(3,), delay=500).get_result(block=True, timeout=20000) == 9
    assert flaky.send("flaky").get_result(block=True, timeout=20000) == "done"
    group = dramatiq.group([square.message(number) for number in range(10)]).run()
    assert list(group.get_results(block=True, timeout=20000)) == [number * number for number in range(10)]


if __name__ == "__main__":
    with Worker("-m", "dramatiq", "dramatiq_", "-p", "1", "-t", "4"):
        main()
    print("ok")
