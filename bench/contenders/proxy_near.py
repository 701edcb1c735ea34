"""This proxy with a near cache, for the rows hot-get-p1 and hot-get-p16."""

from contenders import proxy
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401


def command(program, config, port, servers):
    return [*proxy.command(program, config, port, servers), "-near-cache", "64mb"]
