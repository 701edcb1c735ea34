"""RQ: jobs, retries, later ones, dependent ones."""
from datetime import timedelta

import common
from common import PORT, URL, Worker, wait_for
from redis import Redis
from rq import Queue, Retry

queue = Queue(connection=Redis(port=PORT))
jobs = [queue.enqueue(common.square, number) for number in range(50)]
flaky = queue.enqueue(common.fails_twice, "flaky", retry=Retry(max=3))


def finished(*jobs):
    return lambda: all(job.get_status(refresh=True) == "finished" for job in jobs)


with Worker("-m", "rq.cli", "worker", "--url", URL, "-w", "rq.SimpleWorker", "--with-scheduler"):
    wait_for("jobs", finished(*jobs))
    assert [job.return_value() for job in jobs] == [number * number for number in range(50)]
    wait_for("retries", finished(flaky))
    wait_for("later", finished(queue.enqueue_in(timedelta(seconds=1), common.square, 9)))
    wait_for("dependent", finished(queue.enqueue(common.square, 3, depends_on=jobs[0])))
print("ok")
