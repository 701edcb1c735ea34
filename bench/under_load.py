"""What one contender does under load: `perf`: where its time goes; `strace`: its system calls; `flamegraph`: a picture
of where this proxy's time goes, from the profile that it takes of itself.

usage: under_load.py perf|strace|flamegraph
Options by environment: TESTS (one; default get-p16 and get-p1 in turn), CONTENDERS (default this proxy),
SECONDS of looking (default 5), PLACEMENT (default together). The pictures are bin/flamegraph-TEST.svg.
"""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import flamegraph
import harness
import workloads

SECONDS = float(os.environ.get("SECONDS", 5))


def look_with_perf(pid, folder):
    data = os.path.join(folder, "perf.data")
    record = ["perf", "record", "-q", "-g", "-F", "997", "-o", data, "-p", str(pid), "--", "sleep", str(SECONDS)]
    subprocess.run(record, stdin=subprocess.DEVNULL, check=True)
    for sort in ("comm", "dso", "sym"):
        report = ["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.5",
                  "-F", "overhead," + sort]
        done = subprocess.run(report, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        rows = [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")]
        print(f"\nby {sort}:", *rows, sep="\n")


def look_with_strace(pid, folder):
    out = os.path.join(folder, "strace")
    tracer = subprocess.Popen(["strace", "-c", "-f", "-p", str(pid), "-o", out], stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(SECONDS)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    print(open(out).read())


def look_with_flamegraph(address, workload):
    url = f"http://{address}/debug/pprof/profile?seconds={max(1, round(SECONDS))}&format=folded"
    with urllib.request.urlopen(url, timeout=SECONDS + 60) as answer:
        folded = answer.read().decode()
    picture = Path(__file__).parent / f"../bin/flamegraph-{workload.name}.svg"
    picture.write_text(flamegraph.draw(folded, f"redis-cluster-proxy, {workload.name}"))
    print(*flamegraph.leaves(folded), f"flame graph: bin/{picture.name}", sep="\n", flush=True)


def load_until(stop, port, workload):
    while not stop.is_set():
        harness.run_load(port, workload, workload.requests // 10)


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("perf", "strace", "flamegraph"):
        raise SystemExit(__doc__)
    tool = sys.argv[1]
    address = f"127.0.0.1:{harness.free_port()}"
    if tool == "flamegraph":
        os.environ["PROXY_FLAGS"] = os.environ.get("PROXY_FLAGS", "") + f" -debug-addr {address}"
    elif harness.find_program(tool) is None:
        raise SystemExit(f"{tool} is not installed: `make {tool}` installs it")
    together = os.environ.get("PLACEMENT", "together") == "together"
    core = harness.LOAD_CORE if together else harness.CONTENDER_CORE
    [contender] = harness.contenders(os.environ.get("CONTENDERS", "proxy"))
    if contender.missing or contender.is_direct:
        raise SystemExit(f"{contender.name}: there is nothing to look at (`make build` makes this proxy)")
    with harness.Bench() as bench:
        for workload in workloads.choose(os.environ.get("TESTS", "get-p1,get-p16")):
            contender.start(bench, core, False)
            harness.load_keys(contender.port, workload)
            stop = threading.Event()
            load = threading.Thread(target=load_until, args=(stop, contender.port, workload))
            load.start()
            try:
                time.sleep(0.5)
                print(f"\n== {contender.name}, {workload.name}, {'together' if together else 'apart'}", flush=True)
                if tool == "flamegraph":
                    look_with_flamegraph(address, workload)
                    continue
                look = look_with_perf if tool == "perf" else look_with_strace
                look(contender.process.pid, bench.folder)
            finally:
                stop.set()
                load.join()
                contender.stop(bench)


if __name__ == "__main__":
    try:
        main()
    except harness.Failure as failure:
        sys.exit(str(failure))
