#!/usr/bin/env bash
# A quick look: redis-benchmark, SET and GET of 64 bytes, 50 clients, pipeline 1 and 16.
# usage: redis-benchmark.sh [PORT [REQUESTS]]     (8088, 200000)
set -euo pipefail

port=${1:-8088}
requests=${2:-200000}

# redis-benchmark spins for ever on a port where nobody listens.
if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "nobody listens on port $port; 'make run' starts a cluster and the proxy on 8088" >&2
    exit 1
fi
for pipeline in 1 16; do
    echo "pipeline $pipeline:"
    redis-benchmark -p "$port" -t set,get -n "$requests" -c 50 -P "$pipeline" -d 64 -r 100000 -q </dev/null
done
