"""HAProxy, which speaks TLS with its clients and relays to one redis-server."""

from contenders import haproxy
from contenders.haproxy import PROGRAM, SERVERS, command, version  # noqa: F401

TLS = True
CONFIG = haproxy.CONFIG.replace("bind 127.0.0.1:{port}", "bind 127.0.0.1:{port} ssl crt {folder}/server.pem")
