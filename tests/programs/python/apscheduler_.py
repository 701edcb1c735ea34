"""APScheduler with its Redis job store."""
from apscheduler.jobstores.redis import RedisJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from common import PORT, square
import os

keys = {}
if tag := os.environ.get("PREFIX"):
    keys = {"jobs_key": f"{tag}.jobs", "run_times_key": f"{tag}.run_times"}
scheduler = BackgroundScheduler(jobstores={"default": RedisJobStore(port=PORT, **keys)})
scheduler.start(paused=True)
for number in range(20):
    scheduler.add_job(square, "interval", seconds=100, args=[number], id=f"j{number}", replace_existing=True)
assert len(scheduler.get_jobs()) == 20
scheduler.modify_job("j1", args=[7])
assert list(scheduler.get_job("j1").args) == [7]
for number in range(20):
    scheduler.remove_job(f"j{number}")
assert not scheduler.get_jobs()
scheduler.shutdown()
print("ok")
