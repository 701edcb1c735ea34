"""This proxy with a near cache that holds all keys of zipf.py."""

from contenders import proxy_near
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401


def command(program, config, port, servers):
    return proxy_near.command(program, config, port, servers, "256mb")
