"""This proxy with two workers, for `PLACEMENT=both`: what the second one costs a command."""

from contenders import proxy
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401


def command(program, config, port, servers):
    return [*proxy.command(program, config, port, servers), "-max-procs", "2"]
