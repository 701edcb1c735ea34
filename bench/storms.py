"""What a storm of new connections costs: processor time of the contender for each, and the longest wait in it.

Clients come in groups of 50: all connect, each sends a GET, all read their replies, all leave. The second row is of clients that leave
without a word. A group begins when its time has come at RATE connections a second, or as soon as the one before has ended.
Options by environment: CONNECTS (default 300000), RATE (default 5000), REPEATS, CONTENDERS.
"""

import os
import socket
import statistics
import struct
import time

import harness

CONNECTS = int(os.environ.get("CONNECTS", 300000))
RATE = int(os.environ.get("RATE", 5000))
REPEATS = int(os.environ.get("REPEATS", 1))
CONTENDERS = os.environ.get("CONTENDERS", "haproxy,nutcracker,proxy")
GROUP = 50
REQUEST = harness.encode("GET", "storm")
# Closed by a reset: a port that waits for its last packets cannot be used for the next connection.
LEAVE_AT_ONCE = struct.pack("ii", 1, 0)


def group(port, request):
    """One group's visit."""
    streams = []
    try:
        for _ in range(GROUP):
            stream = socket.socket()
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVE_AT_ONCE)
            stream.settimeout(10)
            streams.append(stream)
            stream.connect(("127.0.0.1", port))
            if request:
                stream.sendall(request)
        if request:
            for stream in streams:
                if not stream.recv(64).startswith(b"$"):
                    raise harness.Failure("a GET was not answered")
    finally:
        for stream in streams:
            stream.close()


def storm(contender, request, connects):
    """Microseconds of the contender for each connection, connections a second, and the longest group in ms."""
    before, start, longest = contender.process.cpu_ns(), time.monotonic(), 0.0
    for number in range(connects // GROUP):
        due = start + number * GROUP / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        begun = time.monotonic()
        group(contender.port, request)
        longest = max(longest, time.monotonic() - begun)
    elapsed = time.monotonic() - start
    time.sleep(0.5)
    return (contender.process.cpu_ns() - before) / 1000 / connects, connects / elapsed, longest * 1000


def main():
    os.sched_setaffinity(0, {harness.LOAD_CORE})
    print("| contender | clients | us/connection | of the first | connections/s | longest group, ms |")
    print("|---|---|---|---|---|---|")
    first = {}
    with harness.Bench() as bench:
        for name in CONTENDERS.split(","):
            contender = harness.contenders(name)[0]
            if contender.missing:
                print(f"| {name} | not installed | | | | |")
                continue
            for clients, request in (("ask once", REQUEST), ("say nothing", b"")):
                contender.start(bench, harness.CONTENDER_CORE)
                try:
                    storm(contender, request, 2000)
                    rows = [storm(contender, request, CONNECTS) for _ in range(REPEATS)]
                finally:
                    contender.stop(bench)
                micros, rate = (statistics.median(row[column] for row in rows) for column in (0, 1))
                first.setdefault(clients, micros)
                longest = max(row[2] for row in rows)
                print(
                    f"| {name} | {clients} | {micros:.1f} | {micros / first[clients]:.2f} | {rate:.0f} | {longest:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
