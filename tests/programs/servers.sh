# What run.sh and faults.sh share: processes that end with the script, and nodes of a cluster. It is sourced.

data=$(mktemp -d)
# Subshells start processes, too.
trap 'xargs kill <"$data/pids" 2>/dev/null || true; rm -rf "$data"' EXIT

start() {
    "$@" >>"$data/log" 2>&1 &
    echo $! >>"$data/pids"
}

# A node at this port, with these flags besides.
start_node() {
    local port=$1
    shift
    mkdir -p "$data/$port"
    start redis-server --port "$port" --dir "$data/$port" --cluster-enabled yes --save '' "$@"
}

# A cluster of nodes at these ports, with so many replicas for each master; `list` has their addresses.
start_cluster() {
    local replicas=$1 port nodes=()
    shift
    for port in "$@"; do
        start_node "$port" --cluster-node-timeout 2000
        nodes+=("127.0.0.1:$port")
    done
    sleep 1
    redis-cli --cluster create "${nodes[@]}" --cluster-replicas "$replicas" --cluster-yes >>"$data/log"
    sleep 3
    list=$(IFS=,; echo "${nodes[*]}")
}
