"""arq: jobs, now and later."""
import asyncio
import os

from arq import create_pool
from arq.connections import RedisSettings
from common import PORT, Worker

SETTINGS = RedisSettings(port=PORT)


async def square(_, number):
    return number * number


class WorkerSettings:
    functions = [square]
    redis_settings = SETTINGS
    poll_delay = 0.05
    queue_name = os.environ.get("QUEUE", "arq:queue")


async def main():
    pool = await create_pool(SETTINGS, default_queue_name=WorkerSettings.queue_name)
    jobs = [await pool.enqueue_job("square", number) for number in range(50)]
    later = await pool.enqueue_job("square", 9, _defer_by=1)
    assert [await job.result(timeout=20) for job in jobs] == [number * number for number in range(50)]
    assert await later.result(timeout=20) == 81


if __name__ == "__main__":
    with Worker("-m", "arq", "arq_.WorkerSettings"):
        asyncio.run(main())
    print("ok")
