"""Celery, with Redis as broker and as result store: tasks, later ones, retries, a group, a chord, remote control.

PREFIX: the global_keyprefix of both."""
import os

from celery import Celery, chord, group
from common import URL, Worker

app = Celery("celery_", broker=URL, backend=URL)
if prefix := os.environ.get("PREFIX"):
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    app.conf.result_backend_transport_options = {"global_keyprefix": prefix}


@app.task
def add(left, right):
    return left + right


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


def main():
    results = [add.delay(number, 1) for number in range(200)]
    assert [result.get(timeout=20) for result in results] == [number + 1 for number in range(200)]
    assert add.apply_async((1, 2), countdown=0.5).get(timeout=20) == 3
    assert flaky.delay().get(timeout=20) == 2
    twice = group(add.s(number, number) for number in range(20))()
    assert twice.get(timeout=20) == [2 * number for number in range(20)]
    summed = chord((add.s(number, number) for number in range(20)), total.s())()
    assert summed.get(timeout=20) == sum(2 * number for number in range(20))
    assert app.control.ping(timeout=2)


if __name__ == "__main__":
    with Worker("-m", "celery", "-A", "celery_", "worker", "-c", "4", "-P", "threads", "-l", "info"):
        main()
    print("ok")
