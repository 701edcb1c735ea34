"""The rows of the table: one line each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """`command` is redis-benchmark's own test, or a whole command line with spaces."""

    name: str
    command: str
    clients: int
    pipeline: int
    value_bytes: int
    keys: int
    requests: int


WORKLOADS = [
    Workload("get-p1", "get", 50, 1, 64, 100_000, 100_000),
    Workload("set-p1", "set", 50, 1, 64, 100_000, 100_000),
    Workload("get-p16", "get", 50, 16, 64, 100_000, 800_000),
    Workload("set-p16", "set", 50, 16, 64, 100_000, 800_000),
    Workload("get-1client", "get", 1, 1, 64, 100_000, 50_000),
    Workload("get-1000clients", "get", 1000, 1, 64, 100_000, 200_000),
    Workload("set-1000clients", "set", 1000, 1, 64, 100_000, 200_000),
    Workload("set-16k", "set", 50, 1, 16384, 1_000, 60_000),
    Workload("get-16k", "get", 50, 1, 16384, 1_000, 60_000),
    Workload("get-1m", "get", 50, 1, 1 << 20, 30, 3_000),
    Workload("mget-10", "MGET " + " ".join(["key:__rand_int__"] * 10), 50, 1, 64, 100_000, 50_000),
    # Few keys, which proxy_near keeps: CONTENDERS=direct,proxy,proxy_near TESTS=hot-get-p1,hot-get-p16
    Workload("hot-get-p1", "get", 50, 1, 64, 100, 100_000),
    Workload("hot-get-p16", "get", 50, 16, 64, 100, 800_000),
    Workload("mset-10", "mset", 50, 1, 64, 100_000, 50_000),
    Workload("mget-100", "MGET " + " ".join(["key:__rand_int__"] * 100), 50, 1, 64, 100_000, 10_000),
    Workload("mset-100", "MSET " + " ".join([f"key:__rand_int__ {'x' * 64}"] * 100), 50, 1, 64, 100_000, 10_000),
]

# What `make bench` runs when nothing is said.
DEFAULT = ["get-p1", "set-p1", "get-p16", "set-p16"]


def choose(names):
    """The workloads of a comma list, of `all`, or the default four."""
    known = {workload.name: workload for workload in WORKLOADS}
    chosen = list(known) if names == "all" else names.split(",") if names else DEFAULT
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"no such test: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in chosen]
