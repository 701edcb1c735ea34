"""nutcracker (twemproxy) over three plain redis-servers, which it shares the keys out to by itself."""

PROGRAM = "nutcracker"
SERVERS = "plain"
CONFIG = """\
bench:
  listen: 127.0.0.1:{port}
  redis: true
  hash: fnv1a_64
  distribution: ketama
  auto_eject_hosts: false
  preconnect: true
  server_connections: 1
  backlog: 4096
  servers:
   - {servers[0]}:1
   - {servers[1]}:1
   - {servers[2]}:1
"""


def command(program, config, port, servers):
    # Its statistics have a port of their own, which must not be another's. Below log level 5 it logs no
    # requests: at its default, 5, it asks for the client's address at every command and throws it away,
    # which costs it one system call a command and, at pipeline 16, twice the time.
    return [program, "-c", config, "-s", str(port + 1), "-v", "4"]


def version(program):
    return [program, "-V"]
