"""The tasks of huey_.py, in a module of their own so that the consumer knows them by the same name."""
import os

import common
import huey as library

huey = getattr(library, os.environ["KIND"])(os.environ.get("NAME", "work"), host="127.0.0.1", port=common.PORT)


@huey.task()
def square(number):
    return number * number


@huey.task(retries=3, retry_delay=0)
def flaky(key):
    return common.fails_twice(key)


@huey.task()
@huey.lock_task("lock")
def locked():
    return "locked"
