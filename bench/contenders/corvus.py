"""corvus over a cluster of three masters, one thread. It is not installed by `make bench`: put the program into
CONTENDER_DIR."""

PROGRAM = "corvus"
SERVERS = "cluster"
CONFIG = """\
bind {port}
node {servers[0]},{servers[1]},{servers[2]}
thread 1
loglevel error
syslog 0
"""


def command(program, config, port, servers):
    return [program, config]


def version(program):
    return [program, "-v"]
