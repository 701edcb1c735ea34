"""This proxy with a near cache that holds all keys of zipf.py."""

from contenders import proxy
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401


def command(program, config, port, servers):
    return [*proxy.command(program, config, port, servers), "-near-cache", "256mb"]
