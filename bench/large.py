"""Requests and replies of many elements: what each element costs, and what others feel meanwhile.

Each row is one contender and one request: processor microseconds per element (median over the runs, with the lowest
and the highest), the same divided by HAProxy's, and by that of the small request before it in the table. Of this proxy
also how long a client with a connection of its own waited for the proxy itself (ECHO) while the request ran.
"""

import os
import statistics
import subprocess
import sys

import harness

QUICK = os.environ.get("QUICK", "") not in ("", "0")
REPEATS = int(os.environ.get("REPEATS", 2 if QUICK else 5))
VALUE = b"x" * 16

# What another client sees: a process of its own, as a load generator that shares an interpreter waits for itself.
BYSTANDER = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print("ready", flush=True)
waits, end = [], False
import threading
threading.Thread(target=lambda: (sys.stdin.read(), globals().update(end=True)), daemon=True).start()
while not end:
    began = time.perf_counter()
    s.sendall(b"*2\\r\\n$4\\r\\nECHO\\r\\n$2\\r\\nhi\\r\\n")
    if s.recv(64) != b"$2\\r\\nhi\\r\\n":
        sys.exit("a strange reply")
    waits.append(time.perf_counter() - began)
    time.sleep(0.0005)
waits.sort()
print(waits[int(len(waits) * 0.99)] * 1000)
"""


def key(number):
    return b"key:%012d" % number


def ask(conn, request):
    """Sends it and reads all of its reply, in large pieces: this client is not what is measured."""
    conn.socket.sendall(request)
    line = conn.input.readline()
    if line[:1] == b"-" or not line.endswith(b"\r\n"):
        raise harness.Failure(line.decode().strip() or "closed")
    if line[:1] != b"*":
        return 0
    count = int(line[1:])
    for _ in range(count):
        head = conn.input.readline()
        if head[:1] == b"$" and head != b"$-1\r\n":
            conn.input.read(int(head[1:]) + 2)
    return count


def fill_list(conn):
    ask(conn, harness.encode("DEL", "list"))
    for _ in range(100):
        ask(conn, harness.encode("RPUSH", "list", *[VALUE] * 1000))


def fill_keys(conn, count):
    for first in range(0, count, 10_000):
        pairs = [word for number in range(first, min(first + 10_000, count)) for word in (key(number), VALUE)]
        ask(conn, harness.encode("MSET", *pairs))


def mget(count):
    return harness.encode("MGET", *[key(number) for number in range(count)])


def mset(count):
    return harness.encode("MSET", *[word for number in range(count) for word in (key(number), VALUE)])


# Name, what to fill in before, the request, its elements, how often it is sent in a run, and who can serve it.
ROWS = [
    ("lrange-100000", fill_list, harness.encode("LRANGE", "list", 0, -1), 100_000, 10, ("haproxy", "proxy")),
    ("mset-10", None, mset(10), 10, 5_000, ("proxy",)),
    ("mset-50000", None, mset(50_000), 50_000, 3, ("proxy",)),
    ("mget-10", lambda conn: fill_keys(conn, 50_000), mget(10), 10, 5_000, ("proxy",)),
    ("mget-50000", lambda conn: fill_keys(conn, 50_000), mget(50_000), 50_000, 3, ("proxy",)),
    ("keys-50000", lambda conn: fill_keys(conn, 50_000), harness.encode("KEYS", "*"), 50_000, 10, ("proxy",)),
    ("keys-1000000", lambda conn: fill_keys(conn, 1_000_000), harness.encode("KEYS", "*"), 1_000_000, 1, ("proxy",)),
]


def run(contender, conn, request, count, times, watch):
    """Microseconds per element, and what a bystander waited (p99, ms)."""
    other = None
    if watch:
        # On the core of the load, and before it whenever it wants: it is not to wait for anything but the proxy.
        argv = [sys.executable, "-c", BYSTANDER, str(contender.port)]
        other = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=first)
        other.stdout.readline()
    before = contender.process.cpu_ns()
    for _ in range(times):
        ask(conn, request)
    micros = (contender.process.cpu_ns() - before) / 1000 / count / times
    contender.process.check()
    if other is None:
        return micros, None
    return micros, float(other.communicate()[0])


def first():
    os.sched_setaffinity(0, {harness.LOAD_CORE})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


def main():
    print("| test | contender | us/element | of haproxy | of the small one | bystander p99 ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    small = {}
    with harness.Bench() as bench:
        field = {contender.name: contender for contender in harness.contenders("haproxy,proxy")}
        for contender in [each for each in field.values() if each.missing]:
            print(f"{contender.name}: skipped, it is not installed", file=sys.stderr)
            del field[contender.name]
        for contender in field.values():
            contender.start(bench, harness.CONTENDER_CORE)
        for name, fill, request, count, times, who in ROWS:
            of_peer = None
            for contender in [field[each] for each in who if each in field]:
                with harness.Conn(contender.port, 300) as conn:
                    if fill:
                        fill(conn)
                    ask(conn, request)
                    runs = [run(contender, conn, request, count, times, False)[0] for _ in range(REPEATS)]
                    # Apart, as its own requests cost the proxy something.
                    waits = run(contender, conn, request, count, times, True)[1] if contender.name == "proxy" else None
                micros = statistics.median(runs)
                peer, kind = "-", name.rsplit("-", 1)[0]
                if contender.name == "haproxy":
                    of_peer = micros
                elif of_peer:
                    peer = f"{micros / of_peer:.2f}"
                before = f"{micros / small[kind]:.2f}" if kind in small else "-"
                if contender.name == "proxy":
                    small.setdefault(kind, micros)
                spread = f"{micros:.3f} ({min(runs):.3f}-{max(runs):.3f})"
                wait = "-" if waits is None else f"{waits:.2f}"
                print(f"| {name} | {contender.name} | {spread} | {peer} | {before} | {wait} |", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
