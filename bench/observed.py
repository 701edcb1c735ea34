"""What it costs the workers to be watched: the same load with nobody looking, and with a scrape of /metrics each second
and three viewers of /api/v1/stream; in turns, several times.

For the thread worker-0: system calls per GET (perf, else strace), all of them; instructions per GET (callgrind, user
space) in serving and flushing peers, since what a worker does by the clock counts by the second and not by the command,
and under valgrind, where threads take turns, a scrape makes the seconds longer. And
what redis-benchmark sees, for information. The load of the counts is one client that waits for its replies, with keys of
one node, so that each turn of the worker has the same to do.

usage: observed.py
Options by environment: COUNT (default syscalls,rate,instructions), REPEATS (default 5), SECONDS of each run (default 4), PROXY_BIN, PROXY_FLAGS.
"""

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import harness
import workloads

REPEATS = int(os.environ.get("REPEATS", 5))
SECONDS = float(os.environ.get("SECONDS", 4))
VIEWERS = 3
COUNT = os.environ.get("COUNT", "syscalls,rate,instructions").split(",")
KEYS = 64
# What callgrind counts: a worker that serves and flushes its peers.
COUNTED = ["redis_cluster_proxy::worker::Worker::serve*", "redis_cluster_proxy::worker::Worker::flush*"]


class Watchers:
    """Programs of their own, so that they take no time of the load's: one that scrapes and three that are streamed to."""

    def __init__(self, address, watched):
        self.programs = []
        if watched:
            for what in ["scrape"] + ["view"] * VIEWERS:
                argv = [sys.executable, __file__, what, address]
                self.programs.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE))
            for program in self.programs:
                if not program.stdout.readline():
                    raise harness.Failure("a watcher sees nothing")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs:
            program.kill()
            program.wait()
            program.stdout.close()


def watch(what, address):
    """In a program of its own: says a line when it has seen something, and goes on until it is killed."""
    stream = None if what == "scrape" else urllib.request.urlopen(f"http://{address}/api/v1/stream", timeout=60)
    said = False
    while True:
        if stream:
            seen = stream.readline()
        else:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
                seen = answer.read()
        if not seen:
            raise SystemExit(1)
        if not said:
            print("sees", flush=True)
            said = True
        if not stream:
            time.sleep(1)


class Client:
    """One client that sends so many GETs in one write, and waits for all replies."""

    def __init__(self, port, pipeline):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pipeline = pipeline
        for number in range(KEYS):
            self.ask(harness.encode("SET", f"{{watched}}:{number:02}", "x" * 64), 5)
        gets = [harness.encode("GET", f"{{watched}}:{number:02}") for number in range(KEYS)]
        self.rounds = [b"".join(gets[(first + at) % KEYS] for at in range(pipeline)) for first in range(KEYS)]
        self.reply_bytes = pipeline * 71
        self.run(8 * KEYS)

    def ask(self, request, reply_bytes):
        self.socket.sendall(request)
        while reply_bytes > 0:
            got = len(self.socket.recv(1 << 16))
            if got == 0:
                raise harness.Failure("the proxy closed the connection")
            reply_bytes -= got

    def run(self, rounds):
        """Returns the number of GETs."""
        for at in range(rounds):
            self.ask(self.rounds[at % KEYS], self.reply_bytes)
        return rounds * self.pipeline

    def rounds_in(self, seconds):
        """How many rounds it makes in about so many seconds."""
        started, rounds = time.monotonic(), 0
        while time.monotonic() - started < 0.5:
            rounds += self.run(8) // self.pipeline
        return max(8, int(rounds * seconds / (time.monotonic() - started)))


def worker_of(pid):
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "worker-0":
            return int(task.name)
    raise harness.Failure("there is no thread worker-0")


def count_syscalls(thread, work):
    """System calls of one thread while `work` is done; and what that returns."""
    with tempfile.NamedTemporaryFile("r") as out:
        if harness.find_program("perf"):
            argv = ["perf", "stat", "-x", ",", "-o", out.name, "-e", "raw_syscalls:sys_enter", "-t", str(thread)]
            pattern = r"^(\d+),"
        elif harness.find_program("strace"):
            argv, pattern = ["strace", "-c", "-p", str(thread), "-o", out.name], r"^100\.00\s+\S+\s+\S*\s*(\d+)\s"
        else:
            raise harness.Failure("neither perf nor strace is installed")
        counter = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            done = work()
        finally:
            counter.send_signal(signal.SIGINT)
            counter.wait()
        found = re.search(pattern, out.read(), re.M)
        if not found:
            raise harness.Failure(f"{argv[0]} counts no system calls here")
        return int(found[1]), done


class Callgrind:
    """The proxy under callgrind, whose threads are counted apart."""

    def __init__(self, bench, argv):
        self.out = os.path.join(bench.folder, "callgrind.out")
        valgrind = [harness.find_program("valgrind"), "--tool=callgrind", "--separate-threads=yes", "--instr-atstart=no"]
        valgrind += [f"--toggle-collect={function}" for function in COUNTED]
        self.process = bench.start([*valgrind, f"--callgrind-out-file={self.out}", *argv], harness.CONTENDER_CORE, "valgrind")
        self.dumps = 0

    def control(self, *words):
        argv = ["callgrind_control", *words, str(self.process.pid)]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def count(self, work):
        """Instructions of worker-0 while `work` is done; and what that returns."""
        self.control("--zero")
        done = work()
        self.control("--dump")
        self.dumps += 1
        # One file for each thread; only a worker runs this.
        for path in Path(self.out).parent.glob(f"callgrind.out.{self.dumps}-*"):
            text = path.read_text(errors="replace")
            if "client_input" in text:
                return int(re.search(r"^(?:summary|totals): (\d+)", text, re.M)[1]), done
        raise harness.Failure("callgrind has not seen the worker")


def in_turns(address, measure):
    """Measures alone and watched in turns; the numbers of each."""
    numbers = {False: [], True: []}
    for repeat in range(REPEATS):
        for watched in (False, True) if repeat % 2 == 0 else (True, False):
            with Watchers(address, watched):
                numbers[watched].append(measure())
    return numbers


def show(what, pipeline, numbers):
    alone, watched = (sorted(numbers[watched]) for watched in (False, True))
    digits = 0 if min(alone) > 100 else 4
    cells = [
        f"{statistics.median(each):.{digits}f} ({each[0]:.{digits}f} to {each[-1]:.{digits}f})" for each in (alone, watched)
    ]
    change = 100 * (statistics.median(watched) / statistics.median(alone) - 1)
    print(f"pipeline {pipeline:2}, {what:21} alone {cells[0]:32} watched {cells[1]:32} {change:+.2f} %", flush=True)


def look_at_syscalls(contender, address):
    thread = worker_of(contender.process.pid)
    for pipeline in (1, 16):
        client = Client(contender.port, pipeline)
        rounds = client.rounds_in(SECONDS)

        def syscalls():
            count, done = count_syscalls(thread, lambda: client.run(rounds))
            return count / done

        show("system calls per GET", pipeline, in_turns(address, syscalls))
        client.socket.close()


def look_at_rate(contender, address):
    for pipeline in (1, 16):
        [workload] = workloads.choose(f"get-p{pipeline}")
        harness.load_keys(contender.port, workload)
        requests = int(harness.run_load(contender.port, workload, 50_000)["rate"] * SECONDS)
        rates = in_turns(address, lambda: harness.run_load(contender.port, workload, requests)["rate"])
        show("GET per second", pipeline, rates)


def look_at_instructions(bench, contender, address):
    if not harness.find_program("valgrind"):
        print("valgrind is not installed: instructions are not counted")
        return
    port = harness.free_port()
    argv = contender.module.command(contender.program, None, port, bench.addresses("cluster"))
    # Under valgrind a request that meets a scrape takes long enough to be in the slow log, which costs it thousands.
    callgrind = Callgrind(bench, [*argv, "-slowlog-log-slower-than", "-1"])
    harness.wait_until("the proxy answers", lambda: harness.serves(callgrind.process, port), 120)
    callgrind.control("--instr=on")
    for pipeline in (1, 16):
        client = Client(port, pipeline)
        rounds = client.rounds_in(SECONDS)

        def instructions():
            count, done = callgrind.count(lambda: client.run(rounds))
            return count / done

        show("instructions per GET", pipeline, in_turns(address, instructions))
        client.socket.close()


def main():
    address = f"127.0.0.1:{harness.free_port()}"
    os.environ["PROXY_FLAGS"] = os.environ.get("PROXY_FLAGS", "") + f" -debug-addr {address}"
    [contender] = harness.contenders("proxy")
    if contender.missing:
        raise SystemExit("`make build` makes this proxy")
    with harness.Bench() as bench:
        contender.start(bench, harness.CONTENDER_CORE)
        if "syscalls" in COUNT:
            look_at_syscalls(contender, address)
        if "rate" in COUNT:
            look_at_rate(contender, address)
        contender.stop(bench)
        if "instructions" in COUNT:
            look_at_instructions(bench, contender, address)


if __name__ == "__main__":
    try:
        if len(sys.argv) == 3 and sys.argv[1] in ("scrape", "view"):
            watch(*sys.argv[1:])
        elif len(sys.argv) != 1:
            raise SystemExit(__doc__)
        else:
            main()
    except (harness.Failure, KeyboardInterrupt) as failure:
        sys.exit(str(failure))
