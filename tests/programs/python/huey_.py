"""Huey: tasks, later ones, retries, a lock, a group. KIND: the class of the queue."""
from common import Worker
from huey_app import flaky, locked, square

with Worker("-m", "huey.bin.huey_consumer", "huey_app.huey", "-w", "4"):
    results = [square(number) for number in range(200)]
    assert [result.get(blocking=True, timeout=20) for result in results] == [number * number for number in range(200)]
    assert square.schedule((3,), delay=1).get(blocking=True, timeout=20) == 9
    result = flaky("flaky")
    for _ in range(3):
        try:
            value = result.get(blocking=True, timeout=20)
            break
        except Exception:
            result.reset()
    assert value == "done"
    assert locked().get(blocking=True, timeout=20) == "locked"
    assert square.map([1, 2, 3]).get(blocking=True, timeout=20) == [1, 4, 9]
print("ok")
