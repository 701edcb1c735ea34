"""What a near cache takes off the nodes: Zipf over a million keys, reads with some writes among them.

Each row is one contender; the same requests go through each, in turns; the first of them warm up. The columns: processor
time of the nodes (all masters together) and of the contender for each command, in microseconds; the nodes' divided by
that of the first contender in the same turn; and how many reads were hits.

Options by environment: KEYS (default 1000000), ZIPF (0.99), WRITES (percent, 5), CLIENTS (32), PIPELINE (16), WARM (6000000 requests,
not measured: fewer leave many keys that nobody has asked for yet), REQUESTS (1000000, measured), REPEATS (3), CONTENDERS
(proxy,proxy_near,proxy_near_256mb), PROXY_BIN, PROXY_FLAGS, NEAR_CACHE (64mb, of proxy_near: it holds 350,000 of the keys).
"""

import itertools
import os
import random
import socket
import statistics
import sys

import harness
from harness import Conn, encode

KEYS = int(os.environ.get("KEYS", 1_000_000))
ZIPF = float(os.environ.get("ZIPF", 0.99))
WRITES = float(os.environ.get("WRITES", 5)) / 100
REQUESTS = int(os.environ.get("REQUESTS", 1_000_000))
WARM = int(os.environ.get("WARM", 6_000_000))
REPEATS = int(os.environ.get("REPEATS", 3))
CLIENTS = int(os.environ.get("CLIENTS", 32))
PIPELINE = int(os.environ.get("PIPELINE", 16))
VALUE = b"x" * 64
GOT, DONE = len(b"$64\r\n\r\n") + len(VALUE), len(b"+OK\r\n")


def name(number):
    return b"key:%012d" % number


def batches(count):
    """`count` requests in pipelines, each with the length of its replies: the load has nothing to make meanwhile."""
    numbers = random.Random(20)
    places = list(range(KEYS))
    numbers.shuffle(places)
    weights = list(itertools.accumulate((rank + 1) ** -ZIPF for rank in range(KEYS)))
    all_batches = []
    for _ in range(count // PIPELINE):
        asked, length = [], 0
        for place in numbers.choices(places, cum_weights=weights, k=PIPELINE):
            writes = numbers.random() < WRITES
            asked.append(encode("SET", name(place), VALUE) if writes else encode("GET", name(place)))
            length += DONE if writes else GOT
        all_batches.append((b"".join(asked), length))
    return all_batches


def run(port, work):
    """Every client has one pipeline under way at a time."""
    clients = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(CLIENTS)]
    room = bytearray(1 << 16)
    for first in range(0, len(work), CLIENTS):
        turn = list(zip(clients, work[first:first + CLIENTS]))
        for client, (asked, _) in turn:
            client.sendall(asked)
        for client, (_, length) in turn:
            while length > 0:
                count = client.recv_into(room, min(length, len(room)))
                if count == 0:
                    raise harness.Failure("closed")
                length -= count
            if room[:1] == b"-":
                raise harness.Failure("an error")
    for client in clients:
        client.close()


def hits(port):
    """Of all reads so far, or nothing if there is no near cache."""
    try:
        with Conn(port) as conn:
            conn.send("PROXY", "CACHE", "STATS")
            count = int(conn.input.readline()[1:])
            words = [conn.reply() for _ in range(count)]
        return int(dict(zip(words[::2], words[1::2])).get("hits", 0))
    except (harness.Failure, ValueError):
        return 0


def measure(bench, contender, work):
    nodes = [process for process in bench.processes if process.name.startswith("cluster-")]
    contender.start(bench, harness.CONTENDER_CORE)
    try:
        first = WARM // PIPELINE
        run(contender.port, work[:first])

        def used():
            return sum(node.cpu_ns() for node in nodes), contender.process.cpu_ns(), hits(contender.port)

        before = used()
        run(contender.port, work[first:])
        spent = [after - earlier for after, earlier in zip(used(), before)]
        commands = (len(work) - first) * PIPELINE
        return [spent[0] / 1000 / commands, spent[1] / 1000 / commands, spent[2] / (commands * (1 - WRITES))]
    finally:
        contender.stop(bench)


def main():
    field = harness.contenders(os.environ.get("CONTENDERS", "proxy,proxy_near,proxy_near_256mb"))
    work = batches(WARM + REQUESTS)
    seen = {contender.name: [] for contender in field}
    with harness.Bench() as bench:
        field[0].start(bench, harness.CONTENDER_CORE)
        with Conn(field[0].port, 30) as conn:
            for first in range(0, KEYS, 100):
                conn.socket.sendall(b"".join(encode("SET", name(first + place), VALUE) for place in range(100)))
                for _ in range(100):
                    conn.reply()
        field[0].stop(bench)
        for turn in range(REPEATS):
            for contender in field:
                row = measure(bench, contender, work)
                seen[contender.name].append(row)
                print(f"{turn + 1}/{REPEATS} {contender.name}: {row}", file=sys.stderr, flush=True)
    print(f"{KEYS} keys, Zipf {ZIPF}, {100 * WRITES:g} % writes, {REQUESTS} requests; medians (lowest-highest)\n")
    print("| contender | nodes, us/command | of the first | contender, us/command | hits of reads |")
    print("|---|---|---|---|---|")
    for label, rows in seen.items():
        def cell(values):
            return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"

        first = seen[field[0].name]
        ratio = [own[0] / other[0] for own, other in zip(rows, first)]
        columns = [[row[0] for row in rows], ratio, [row[1] for row in rows], [row[2] for row in rows]]
        print(f"| {label} | " + " | ".join(cell(values) for values in columns) + " |")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
