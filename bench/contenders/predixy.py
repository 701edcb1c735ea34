"""predixy over a cluster of three masters, one worker thread. It is not installed by `make bench`: put the program into
CONTENDER_DIR."""

PROGRAM = "predixy"
SERVERS = "cluster"
CONFIG = """\
Name bench
Bind 127.0.0.1:{port}
WorkerThreads 1
Authority {{
    Auth {{
        Mode write
    }}
}}
ClusterServerPool {{
    MasterReadPriority 60
    StaticSlaveReadPriority 0
    DynamicSlaveReadPriority 0
    RefreshInterval 1
    ServerTimeout 60
    ServerFailureLimit 10
    ServerRetryTimeout 1
    KeepAlive 120
    Servers {{
        + {servers[0]}
    }}
}}
"""


def command(program, config, port, servers):
    return [program, config]


def version(program):
    return [program, "-v"]
