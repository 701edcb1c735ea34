"""HAProxy as a TCP relay to one redis-server: what forwarding costs that does not even parse."""

PROGRAM = "haproxy"
SERVERS = "single"
CONFIG = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 1s
    timeout client 1h
    timeout server 1h
listen redis
    bind 127.0.0.1:{port}
    server redis {servers[0]}
"""


def command(program, config, port, servers):
    return [program, "-db", "-f", config]


def version(program):
    return [program, "-v"]
