"""Latency under a steady open-loop rate: this proxy and a direct connection, in turns.

Prints microseconds from when a request was due to its reply, of each run and the median of all. Options by environment: RATE (commands
a second; default SHARE of the proxy's measured capacity), SHARE (0.8), SECONDS (10), REPEATS (3), CLIENTS (50), CONTENDERS,
PROXY_BIN, PROXY_FLAGS. DISTURB=1 has another program ask each second for all keys, and for the proxy's metrics.
"""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

import harness
import workloads

SECONDS = os.environ.get("SECONDS", "10")
CLIENTS = os.environ.get("CLIENTS", "50")
SHARE = float(os.environ.get("SHARE", 0.8))
REPEATS = int(os.environ.get("REPEATS", 3))
DISTURB = os.environ.get("DISTURB") == "1"
COLUMNS = ["p50", "p99", "p99.9", "p99.99", "max"]


def program():
    built = subprocess.run(["cargo", "bench", "--locked", "--bench", "latency", "--no-run", "--message-format=json"],
                           capture_output=True, text=True, check=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    [program] = [message["executable"] for message in messages
                 if message.get("executable") and message["target"]["name"] == "latency"]
    return program


def disturb(port, metrics):
    """In a program of its own, until it is killed: all keys, unread but for their number of bytes, and a scrape, each second."""
    with socket.create_connection(("127.0.0.1", int(port))) as stream:
        length = None
        while True:
            stream.sendall(harness.encode("KEYS", "*"))
            seen = 0
            # The first reply shows how long they are: no key comes or goes. It is over when nothing comes for half a second.
            stream.settimeout(0.5 if length is None else 30)
            try:
                while seen != length:
                    seen += len(stream.recv(1 << 20))
            except TimeoutError:
                length = seen
            if metrics:
                urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10).read()
            time.sleep(1)


def run(load, contender, rate, metrics):
    """Microseconds, by column."""
    helper = None
    if DISTURB:
        argv = [sys.executable, __file__, "disturb", str(contender.port), "" if contender.is_direct else metrics]
        helper = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True,
                                  preexec_fn=lambda: os.sched_setaffinity(0, {harness.LOAD_CORE}))
    try:
        argv = [load, f"127.0.0.1:{contender.port}", str(rate), SECONDS, CLIENTS]
        done = subprocess.run(argv, capture_output=True, text=True, check=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, {harness.LOAD_CORE}))
    finally:
        if helper:
            alive = helper.poll() is None
            helper.kill()
            helper.wait()
    if helper and not alive:
        raise SystemExit("the program that disturbs has ended")
    return {name: float(re.search(rf"{re.escape(name)} (\d+)", done.stdout)[1]) for name in COLUMNS}


def main():
    if sys.argv[1:2] == ["disturb"]:
        return disturb(*sys.argv[2:])
    load = program()
    metrics = f"127.0.0.1:{harness.free_port()}"
    if DISTURB:
        os.environ["PROXY_FLAGS"] = f"{os.environ.get('PROXY_FLAGS', '')} -debug-addr {metrics}"
    field = harness.contenders(os.environ.get("CONTENDERS", "direct,proxy"))
    [workload] = workloads.choose("get-p1")
    taken = {contender.name: [] for contender in field}
    with harness.Bench() as bench:
        for contender in field:
            contender.start(bench, harness.CONTENDER_CORE)
            harness.load_keys(contender.port, workload)
        proxy = field[-1]
        rate = os.environ.get("RATE")
        if rate is None:
            runs = [harness.run_load(proxy.port, workload, workload.requests)["rate"] for _ in range(3)]
            rate = int(statistics.median(runs) * SHARE)
        print(f"{rate} commands per second, {CLIENTS} clients, {SECONDS} s, microseconds")
        print("| run | contender | " + " | ".join(COLUMNS) + " |")
        print("|---|---|" + "---|" * len(COLUMNS))

        def show(what, name, row):
            print(f"| {what} | {name} | " + " | ".join(f"{row[column]:.0f}" for column in COLUMNS) + " |", flush=True)

        for turn in range(REPEATS):
            for contender in field:
                row = run(load, contender, rate, metrics)
                taken[contender.name].append(row)
                show(f"{turn + 1}/{REPEATS}", contender.name, row)
        for name, rows in taken.items():
            show("median", name, {column: statistics.median(row[column] for row in rows) for column in COLUMNS})


if __name__ == "__main__":
    main()
