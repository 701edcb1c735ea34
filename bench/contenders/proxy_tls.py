"""This proxy, which speaks TLS with its clients and plain text with the nodes."""

from contenders import proxy
from contenders.proxy import PROGRAM, SERVERS, version  # noqa: F401

TLS = True


def command(program, config, port, servers):
    own = proxy.command(program, config, port, servers)
    at = own.index("-addr") + 1
    own[at - 1:at + 1] = ["-addr", "", "-tls-addr", f"127.0.0.1:{port}", "-tls-auth-clients", "no"]
    return [*own, "-tls-cert-file", "server.crt", "-tls-key-file", "server.key"]
