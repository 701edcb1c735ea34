"""This proxy with a near cache, for the rows hot-get-p1 and hot-get-p16. NEAR_CACHE is its size."""

import os

from contenders import proxy
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401


def command(program, config, port, servers, size=os.environ.get("NEAR_CACHE", "64mb")):
    return [*proxy.command(program, config, port, servers), "-near-cache", size]
