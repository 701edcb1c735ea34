"""Latency under a steady open-loop rate: this proxy and a direct connection, at 80 % of what the proxy can do.

Prints microseconds from when a request was due to its reply. Options by environment: RATE (commands a second,
default 80 % of the proxy's measured capacity), SECONDS (10), CLIENTS (50), PROXY_BIN, PROXY_FLAGS.
"""

import json
import os
import statistics
import subprocess

import harness
import workloads

SECONDS = os.environ.get("SECONDS", "10")
CLIENTS = os.environ.get("CLIENTS", "50")


def program():
    built = subprocess.run(["cargo", "bench", "--locked", "--bench", "latency", "--no-run", "--message-format=json"],
                           capture_output=True, text=True, check=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    [program] = [message["executable"] for message in messages
                 if message.get("executable") and message["target"]["name"] == "latency"]
    return program


def run(load, contender, rate):
    argv = [load, f"127.0.0.1:{contender.port}", str(rate), SECONDS, CLIENTS]
    done = subprocess.run(argv, capture_output=True, text=True, check=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, {harness.LOAD_CORE}))
    return done.stdout.strip()


def main():
    load = program()
    field = harness.contenders(os.environ.get("CONTENDERS", "direct,proxy"))
    [workload] = workloads.choose("get-p1")
    with harness.Bench() as bench:
        for contender in field:
            contender.start(bench, harness.CONTENDER_CORE)
            harness.load_keys(contender.port, workload)
        proxy = field[-1]
        rate = os.environ.get("RATE")
        if rate is None:
            runs = [harness.run_load(proxy.port, workload, workload.requests)["rate"] for _ in range(3)]
            rate = int(statistics.median(runs) * 0.8)
        print(f"{rate} commands per second, {CLIENTS} clients, {SECONDS} s")
        for turn in range(3):
            for contender in field:
                print(f"{turn + 1}/3 {contender.name}: {run(load, contender, rate)}", flush=True)


if __name__ == "__main__":
    main()
