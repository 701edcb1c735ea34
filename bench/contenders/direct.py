"""No proxy: the load speaks to one redis-server. What is reached here, nobody exceeds."""

PROGRAM = None
SERVERS = "single"
