"""This proxy, with its default flags, over a cluster of three masters. PROXY_BIN is another build of it,
PROXY_FLAGS are more flags."""

import os

PROGRAM = os.environ.get("PROXY_BIN", os.path.join(os.path.dirname(__file__), "../../bin/redis-cluster-proxy"))
SERVERS = "cluster"


def command(program, config, port, servers):
    flags = os.environ.get("PROXY_FLAGS", "").split()
    return [program, "-addr", f"127.0.0.1:{port}", "-startup-nodes", ",".join(servers), *flags]


def version(program):
    return [program, "-version"]
