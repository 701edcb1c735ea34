"""What the programs here share: a check that ends the program, and a word with the test that started it."""

import sys


def check(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got!r}, expected {expected!r}")
    print(f"{what}: ok", flush=True)


def failover():
    """Has the test make a replica the master of its shard; returns when the cluster has settled."""
    print("FAILOVER", flush=True)
    if sys.stdin.readline().strip() != "done":
        sys.exit("the test did not answer")
