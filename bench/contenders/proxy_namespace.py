"""This proxy with a namespace: a tag before every key, all keys at one master."""

from contenders import proxy
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401


def command(program, config, port, servers):
    return [*proxy.command(program, config, port, servers), "-namespace", "bench"]
