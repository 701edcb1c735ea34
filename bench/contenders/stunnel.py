"""stunnel, which speaks TLS with its clients and relays to one redis-server."""

PROGRAM = "stunnel"
SERVERS = "single"
TLS = True
CONFIG = """\
foreground = yes
pid =
debug = 3
[redis]
accept = 127.0.0.1:{port}
connect = {servers[0]}
cert = {folder}/server.pem
"""


def command(program, config, port, servers):
    return [program, config]


def version(program):
    return [program, "-version"]
