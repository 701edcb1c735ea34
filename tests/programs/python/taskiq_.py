"""taskiq with its Redis brokers and result back end: tasks, retries, a schedule. KIND: the broker's class; QUEUE: its queue."""
import asyncio
import datetime
import os

import common
import taskiq_redis
from common import URL, Worker
from taskiq import SimpleRetryMiddleware, TaskiqScheduler
from taskiq_redis import ListRedisScheduleSource, RedisAsyncResultBackend

Broker = getattr(taskiq_redis, os.environ.get("KIND", "ListQueueBroker"))
queue = {"queue_name": os.environ["QUEUE"]} if "QUEUE" in os.environ else {}
results = RedisAsyncResultBackend(URL, result_ex_time=100)
broker = Broker(URL, **queue).with_result_backend(results).with_middlewares(SimpleRetryMiddleware())
source = ListRedisScheduleSource(URL)
scheduler = TaskiqScheduler(broker, [source])


@broker.task(task_name="square")
async def square(number):
    return number * number


@broker.task(task_name="flaky", retry_on_error=True, max_retries=5)
async def flaky(key):
    return common.fails_twice(key)


async def main():
    await broker.startup()
    await source.startup()
    tasks = [await square.kiq(number) for number in range(200)]
    found = [(await task.wait_result(timeout=30)).return_value for task in tasks]
    assert found == [number * number for number in range(200)], found
    task = await flaky.kiq("flaky")
    assert (await task.wait_result(timeout=20)).return_value == "done"
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    schedule = await square.schedule_by_time(source, soon, 7)
    assert [own.schedule_id for own in await source.get_schedules()] == [schedule.schedule_id]
    await source.delete_schedule(schedule.schedule_id)
    assert await source.get_schedules() == []
    await broker.shutdown()


if __name__ == "__main__":
    with Worker("-m", "taskiq", "worker", "taskiq_:broker", "--workers", "1"):
        asyncio.run(main())
    print("ok")
