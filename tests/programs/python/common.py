"""What the programs share: where the server is, and worker processes."""
import os
import subprocess
import sys
import tempfile
import time

PORT = int(os.environ["PORT"])
URL = f"redis://127.0.0.1:{PORT}/0"
FOLDER = os.path.dirname(os.path.abspath(__file__))


def square(number):
    return number * number


def fails_twice(key):
    import redis

    if redis.Redis(port=PORT).incr(key) < 3:
        raise ValueError("the first times")
    return "done"


def wait_for(what, ask, limit=30):
    end = time.time() + limit
    while time.time() < end:
        if found := ask():
            return found
        time.sleep(0.05)
    raise SystemExit(f"waited in vain for {what}")


class Worker:
    """A process `python ARGS` beside this one; what it said is shown if this one fails."""

    def __init__(self, *args):
        self.said = tempfile.TemporaryFile("w+")
        self.child = subprocess.Popen([sys.executable, *args], stdout=self.said, stderr=subprocess.STDOUT, cwd=FOLDER)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
        if error:
            self.said.seek(0)
            print(self.said.read()[-4000:])
