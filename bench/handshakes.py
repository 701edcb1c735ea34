"""TLS handshakes and idle TLS clients: what each costs this proxy, HAProxy and stunnel.

Each row is one contender: processor microseconds for a full handshake and one PING, for a resumed one, and resident bytes for
an idle client that has said PING once. The clients are Python's, so that the contender is what is measured: their own
time is not in the figures. HANDSHAKES=5000, IDLE=5000 and CONTENDERS=proxy_tls,haproxy_tls change what runs.
"""

import os
import resource
import statistics
import sys

import harness

HANDSHAKES = int(os.environ.get("HANDSHAKES", 2000))
IDLE = int(os.environ.get("IDLE", 3000))
REPEATS = int(os.environ.get("REPEATS", 3))
CONTENDERS = os.environ.get("CONTENDERS", "proxy_tls,haproxy_tls,stunnel")


def ping(stream):
    stream.sendall(b"*1\r\n$4\r\nPING\r\n")
    if not stream.recv(64).startswith(b"+PONG"):
        raise harness.Failure("a PING was not answered with PONG")


def connect(context, port, session=None):
    plain = harness.socket.create_connection(("127.0.0.1", port), 10)
    return context.wrap_socket(plain, session=session)


def handshakes(contender, count, resumed):
    """Microseconds of the contender for each, and how many were resumed in truth."""
    context = harness.trusting()
    session, reused = None, 0
    if resumed:
        with connect(context, contender.port) as stream:
            ping(stream)
            session = stream.session
    before = contender.process.cpu_ns()
    for _ in range(count):
        with connect(context, contender.port, session) as stream:
            ping(stream)
            reused += stream.session_reused
            if resumed:
                # A ticket may serve once only.
                session = stream.session
    return (contender.process.cpu_ns() - before) / 1000 / count, reused


def idle_bytes(contender, count):
    context = harness.trusting()
    before = contender.process.rss_kib()
    streams = []
    try:
        for _ in range(count):
            streams.append(connect(context, contender.port))
            ping(streams[-1])
        harness.time.sleep(2)
        return (contender.process.rss_kib() - before) * 1024 / count
    finally:
        for stream in streams:
            stream.close()


def measure(bench, name):
    contender = harness.contenders(name)[0]
    if contender.missing:
        return None
    contender.start(bench, harness.CONTENDER_CORE)
    try:
        handshakes(contender, 100, False)
        full = [handshakes(contender, HANDSHAKES, False)[0] for _ in range(REPEATS)]
        resumed = [handshakes(contender, HANDSHAKES, True) for _ in range(REPEATS)]
    finally:
        contender.stop(bench)
    # Afresh: what handshakes left behind would be taken by the idle clients.
    contender.start(bench, harness.CONTENDER_CORE)
    try:
        idle = idle_bytes(contender, IDLE)
    finally:
        contender.stop(bench)
    reused = min(count for _, count in resumed)
    return statistics.median(full), statistics.median(micros for micros, _ in resumed), reused, idle


def main():
    os.sched_setaffinity(0, {harness.LOAD_CORE})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    print("| contender | us/handshake | us/resumed handshake | resumed | bytes/idle client |")
    print("|---|---|---|---|---|")
    with harness.Bench() as bench:
        for name in CONTENDERS.split(","):
            row = measure(bench, name)
            if row is None:
                print(f"{name}: skipped, the program is not installed", file=sys.stderr)
                continue
            full, resumed, reused, idle = row
            print(f"| {name} | {full:.0f} | {resumed:.0f} | {reused} of {HANDSHAKES} | {idle:.0f} |", flush=True)


if __name__ == "__main__":
    main()
