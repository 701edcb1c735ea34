"""nutcracker with buffers of 512 bytes in place of 16 KiB: cheaper with small values in long pipelines, as it
copies what is left of a buffer for each message in it; dearer with large values."""

from contenders import nutcracker
from contenders.nutcracker import CONFIG, PROGRAM, SERVERS, version  # noqa: F401


def command(program, config, port, servers):
    return [*nutcracker.command(program, config, port, servers), "-m", "512"]
