"""What idle clients cost in memory, whether it comes back, and how soon the first command is served.

Options by environment: CLIENTS (default 10000), PROXY_BIN, PROXY_FLAGS, and those of bench/README.md.
"""

import os
import socket
import time

import harness
from harness import Conn, encode

CLIENTS = int(os.environ.get("CLIENTS", 10000))
VALUE = b"x" * (16 << 10)


def settled_rss(process):
    """Once it stays the same; the proxy gives memory back some seconds after the last command."""
    time.sleep(8)
    return process.rss_kib()


def first_command_ms(bench, contender):
    """From the start of the program to the reply to a GET that came as early as could be."""
    bench.addresses(contender.module.SERVERS)
    times = []
    for _ in range(5):
        began = time.monotonic()
        contender.start(bench, harness.CONTENDER_CORE, wait=False)
        while True:
            try:
                with Conn(contender.port) as conn:
                    conn.command("GET", "a key")
                break
            except (OSError, harness.Failure):
                time.sleep(0.0005)
        times.append((time.monotonic() - began) * 1000)
        contender.stop(bench)
    return sorted(times)[len(times) // 2]


def main():
    [contender] = harness.contenders(os.environ.get("CONTENDERS", "proxy"))
    with harness.Bench() as bench:
        print(f"start to first command served: {first_command_ms(bench, contender):.1f} ms (median of 5)")
        contender.start(bench, harness.CONTENDER_CORE)
        with Conn(contender.port) as conn:
            conn.command("SET", "a key", "a value")
        base = settled_rss(contender.process)
        clients = []
        for number in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", contender.port), 30)
            client.sendall(encode("GET", f"key:{number}"))
            client.sendall(encode("SET", f"key:{number}", VALUE))
            clients.append(client)
        for client in clients:
            got = b""
            while not got.endswith(b"+OK\r\n"):
                got += client.recv(1 << 16)
        idle = settled_rss(contender.process)
        for client in clients:
            client.close()
        after = settled_rss(contender.process)
        print(f"resident before: {base} KiB; with {CLIENTS} idle clients: {idle} KiB, "
              f"{(idle - base) * 1024 / CLIENTS:.0f} bytes each; after they have left: {after} KiB, "
              f"{(after - base) / base * 100:+.1f} %")


if __name__ == "__main__":
    main()
