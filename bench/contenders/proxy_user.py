"""This proxy with a user who is confined to two patterns of keys: what the check costs."""

from contenders import proxy
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401

CONFIG = "user default on nopass ~key:* ~serving:* +@all\n"


def command(program, config, port, servers):
    return [*proxy.command(program, config, port, servers), "-acl-file", config]
