"""SAQ: jobs, later ones, retries. NAME: the queue's."""
import asyncio
import os
import time

from common import URL, Worker
from saq import Queue

queue = Queue.from_url(URL, name=os.environ.get("NAME", "work"))


async def square(_, *, number):
    return number * number


async def flaky(context):
    if context["job"].attempts < 3:
        raise ValueError("the first times")
    return "done"


settings = {"queue": queue, "functions": [square, flaky], "concurrency": 5}


async def main():
    await queue.connect()
    results = await asyncio.wait_for(queue.map("square", [{"number": number} for number in range(50)], timeout=30), 40)
    assert results == [number * number for number in range(50)]
    assert await queue.apply("flaky", retries=5) == "done"
    job = await queue.enqueue("square", number=9, scheduled=time.time() + 1)
    await job.refresh(20)
    assert job.result == 81, job
    await queue.disconnect()


if __name__ == "__main__":
    with Worker("-m", "saq", "saq_.settings"):
        asyncio.run(main())
    print("ok")
