"""What the programs here share: where the proxy is, a check that ends the program, and a word with the test that
started it."""

import os
import sys


def place():
    """What redis-py needs to reach the proxy: its port and, where CLIENTS_TLS names a folder of certificates, TLS."""
    options = {"port": int(sys.argv[1])}
    folder = os.environ.get("CLIENTS_TLS")
    if folder:
        options |= {
            "ssl": True,
            "ssl_ca_certs": f"{folder}/ca.crt",
            "ssl_certfile": f"{folder}/own.crt",
            "ssl_keyfile": f"{folder}/own.key",
        }
    return options


def check(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got!r}, expected {expected!r}")
    print(f"{what}: ok", flush=True)


def failover():
    """Has the test make a replica the master of its shard; returns when the cluster has settled."""
    print("FAILOVER", flush=True)
    if sys.stdin.readline().strip() != "done":
        sys.exit("the test did not answer")
