"""Requests and replies of many elements: what each element costs, and what others feel meanwhile.

Each row is one contender and one request: processor microseconds per element (median over the runs, with the lowest
and the highest), the same divided by HAProxy's, by that of 10 elements, and by that of 10,000. Of this proxy also how
long a client with a connection of its own waited while the request ran: for a GET at a node that has no part in it, or
for ECHO, which the proxy answers itself, where all nodes have one.

The proxy and that node have the processor whenever they want it (SCHED_FIFO, if that is permitted), so that what other
programs do is not in the figures. ROWS=keys,mset-10000 runs only the rows whose names begin so.
"""

import binascii
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
request, expected = (bytes.fromhex(arg) for arg in sys.argv[2:])
waits, end = [], False
import threading
threading.Thread(target=lambda: (sys.stdin.read(), globals().update(end=True)), daemon=True).start()
while not end:
    began = time.perf_counter()
    s.sendall(request)
    if s.recv(64) != expected:
        sys.exit("a strange reply")
    waits.append(time.perf_counter() - began)
    time.sleep(0.0005)
waits.sort()
print(waits[int(len(waits) * 0.99)] * 1000)
"""


# The slots from here on are those of the last node, which has no part in what is asked.
APART = 16384 * 2 // 3 + 1
NAMES = []


def is_apart(name):
    return binascii.crc_hqx(name, 0) % 16384 >= APART


def key(number):
    """Keys of all nodes but the last."""
    while len(NAMES) <= number:
        key.last = getattr(key, "last", 0) + 1
        name = b"key:%012d" % key.last
        if not is_apart(name):
            NAMES.append(name)
    return NAMES[number]


# What the requests of one key ask for.
LARGE = next(name for name in (b"large:%d" % number for number in range(1000)) if not is_apart(name))
BYSTANDER_KEY = next(name for name in (b"apart:%d" % number for number in range(1000)) if is_apart(name))
GET = (harness.encode("GET", BYSTANDER_KEY), b"$2\r\nhi\r\n")
ECHO = (harness.encode("ECHO", "hi"), b"$2\r\nhi\r\n")


ROOM = memoryview(bytearray(1 << 18))


def ask(conn, request, length=None):
    """Sends it and reads all of its reply. Returns the length of an array in bytes: whoever knows it from before reads without looking,
    so that the client, which is not what is measured, does not make the run long."""
    conn.socket.sendall(request)
    if length is not None:
        left = length
        while left > 0:
            count = conn.input.readinto(ROOM[:left])
            if not count:
                raise harness.Failure("closed")
            left -= count
        return length
    line = conn.input.readline()
    if line[:1] == b"-" or not line.endswith(b"\r\n"):
        raise harness.Failure(line.decode().strip() or "closed")
    if line[:1] != b"*":
        return None
    length = len(line)
    for _ in range(int(line[1:])):
        head = conn.input.readline()
        length += len(head)
        if head[:1] == b"$" and head != b"$-1\r\n":
            length += len(conn.input.read(int(head[1:]) + 2))
    return length


def fill_list(conn, count):
    ask(conn, harness.encode("DEL", LARGE))
    for _ in range(count // 1000):
        ask(conn, harness.encode("RPUSH", LARGE, *[VALUE] * 1000))


def fill_set(conn, count):
    ask(conn, harness.encode("DEL", LARGE))
    for first in range(0, count, 1000):
        ask(conn, harness.encode("SADD", LARGE, *[b"%016d" % number for number in range(first, first + 1000)]))


def fill_keys(conn, count):
    ask(conn, harness.encode("FLUSHALL"))
    for first in range(0, count, 10_000):
        pairs = [word for number in range(first, min(first + 10_000, count)) for word in (key(number), VALUE)]
        ask(conn, harness.encode("MSET", *pairs))


def mget(count):
    return harness.encode("MGET", *[key(number) for number in range(count)])


def mset(count):
    return harness.encode("MSET", *[word for number in range(count) for word in (key(number), VALUE)])


def rpush(count):
    return harness.encode("RPUSH", LARGE, *[VALUE] * count)


def lrange(_):
    return harness.encode("LRANGE", LARGE, 0, -1)


def smembers(_):
    return harness.encode("SMEMBERS", LARGE)


def keys(_):
    return harness.encode("KEYS", "*")


def forget(conn, _):
    ask(conn, harness.encode("DEL", LARGE))


# Of each kind: how it is filled in before, the request, what the bystander asks, and its rows: how many elements, how
# often it is sent in a run, and who can serve it.
PROXY, BOTH = ("proxy",), ("haproxy", "proxy")
KINDS = {
    "lrange": (fill_list, lrange, GET, [(10_000, 1_000, PROXY), (100_000, 100, BOTH), (1_000_000, 10, PROXY)]),
    "smembers": (fill_set, smembers, GET, [(10_000, 1_000, PROXY), (1_000_000, 10, PROXY)]),
    "rpush": (forget, rpush, GET, [(10_000, 100, PROXY), (1_000_000, 1, PROXY)]),
    "mset": (None, mset, GET, [(10, 5_000, PROXY), (10_000, 20, PROXY), (50_000, 4, PROXY), (1_000_000, 1, PROXY)]),
    "mget": (fill_keys, mget, GET, [(10, 5_000, PROXY), (10_000, 20, PROXY), (50_000, 4, PROXY), (1_000_000, 1, PROXY)]),
    "keys": (fill_keys, keys, ECHO, [(10_000, 300, PROXY), (50_000, 60, PROXY), (1_000_000, 3, PROXY)]),
}
WANTED = tuple(os.environ.get("ROWS", "").split(","))


def run(contender, conn, request, length, count, times, other):
    """Microseconds per element, and what a bystander waited (p99, ms)."""
    child = None
    if other:
        # On the core of the load, and before it whenever it wants: it is not to wait for anything but the proxy.
        argv = [sys.executable, "-c", BYSTANDER, str(contender.port), *[text.hex() for text in other]]
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=first)
        child.stdout.readline()
    before = contender.process.cpu_ns()
    for _ in range(times):
        ask(conn, request, length)
    micros = (contender.process.cpu_ns() - before) / 1000 / count / times
    contender.process.check()
    if child is None:
        return micros, None
    return micros, float(child.communicate()[0])


def first():
    os.sched_setaffinity(0, {harness.LOAD_CORE})
    prefer(0)


def prefer(pid):
    """Gives a process, with all of its threads, the processor whenever it wants it."""
    threads = [int(name) for name in os.listdir(f"/proc/{pid or os.getpid()}/task")]
    try:
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


def row(name, contender, fill, count, make, times, other):
    """The runs of one contender, and what the bystander of the last one waited."""
    with harness.Conn(contender.port, 300) as conn:
        if fill:
            fill(conn, count)
        ask(conn, harness.encode("SET", BYSTANDER_KEY, "hi"))
        request = make(count)
        length = ask(conn, request)
        runs = [run(contender, conn, request, length, count, times, None)[0] for _ in range(REPEATS)]
        # Apart, as its own requests cost the proxy something.
        watched = contender.name == "proxy"
        return runs, run(contender, conn, request, length, count, max(times, 2), other)[1] if watched else None


def main():
    print("| test | contender | us/element | of haproxy | of 10 | of 10,000 | bystander p99 ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with harness.Bench() as bench:
        field = {contender.name: contender for contender in harness.contenders("haproxy,proxy")}
        for contender in [each for each in field.values() if each.missing]:
            print(f"{contender.name}: skipped, it is not installed", file=sys.stderr)
            del field[contender.name]
        for contender in field.values():
            contender.start(bench, harness.CONTENDER_CORE)
        for process in bench.processes:
            if process.name in ("proxy", "haproxy", "cluster-2"):
                prefer(process.pid)
        for kind, (fill, make, other, rows) in KINDS.items():
            of_peer, small = None, {}
            for count, times, who in rows:
                name = f"{kind}-{count}"
                if not name.startswith(WANTED):
                    continue
                for contender in [field[each] for each in who if each in field]:
                    runs, wait = row(name, contender, fill, count, make, times, other)
                    micros = statistics.median(runs)
                    if contender.name == "haproxy":
                        of_peer = micros
                    else:
                        small[count] = micros
                    ratios = [of_peer if contender.name == "proxy" and len(who) > 1 else None]
                    ratios += [value for least, value in ((10, small.get(10)), (10_000, small.get(10_000)))
                               for value in [value if count > least and contender.name == "proxy" else None]]
                    ratios = " | ".join(f"{micros / value:.2f}" if value else "-" for value in ratios)
                    spread = f"{micros:.3f} ({min(runs):.3f}-{max(runs):.3f})"
                    wait = "-" if wait is None else f"{wait:.2f}"
                    print(f"| {name} | {contender.name} | {spread} | {ratios} | {wait} |", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
