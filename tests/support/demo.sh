#!/usr/bin/env bash
# A cluster of three masters and three replicas with the proxy in front, until Ctrl-C. With TLS=1 in the environment all
# of them speak TLS, with certificates that are made for this run.
# usage: demo.sh PROXY [FLAG...]
#        demo.sh --check-ports: only looks whether the ports are free
set -euo pipefail

proxy=$1
shift
nodes=(7001 7002 7003 7004 7005 7006)
pids=()
# What tells redis-cli, the nodes and the proxy to speak TLS; nothing without it.
cli_tls=()
proxy_tls=()
proxy_pid=
keep=

fail() {
    echo "$*" >&2
    exit 1
}

listening() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Asks until the answer is yes, 30 s at most.
wait_until() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            keep=yes
            fail "waited 30 s in vain until $what; the logs are in $folder"
        fi
        sleep 0.1
    done
}

# Only what was started here, by its own number.
take_down() {
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$proxy_pid" ]; then
        kill -TERM "$proxy_pid" 2>/dev/null || true
        wait "$proxy_pid" 2>/dev/null || true
    fi
    local pid
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    if [ -z "$keep" ]; then
        rm -rf -- "$folder"
    fi
}

busy=()
for port in "${nodes[@]}" "${nodes[@]/#/1}" 8088; do
    if listening "$port"; then busy+=("$port"); fi
done
if [ ${#busy[@]} -gt 0 ]; then
    fail "these ports are in use: ${busy[*]}; what is listening there? (ss -ltnp) Stop it and try again"
fi
if [ "$proxy" = --check-ports ]; then
    exit 0
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/redis-cluster-proxy.XXXXXX")
trap take_down EXIT
trap 'exit 0' INT TERM HUP

if [ -n "${TLS:-}" ]; then
    bash "$(dirname "$0")/certificates.sh" "$folder/tls"
    authority=$folder/tls/ca.crt certificate=$folder/tls/own.crt key=$folder/tls/own.key
    cli_tls=(--tls --cacert "$authority" --cert "$certificate" --key "$key")
    proxy_tls=(-addr "" -tls-addr :8088 -tls-cert-file "$certificate" -tls-key-file "$key" -tls-ca-cert-file "$authority"
        -backend-tls -backend-tls-cert-file "$certificate" -backend-tls-key-file "$key"
        -backend-tls-ca-cert-file "$authority")
fi

# Where a node listens, and how.
node_flags() {
    if [ -z "${TLS:-}" ]; then
        echo --port "$1"
    else
        echo --port 0 --tls-port "$1" --tls-cluster yes --tls-replication yes --tls-cert-file "$certificate" \
            --tls-key-file "$key" --tls-ca-cert-file "$authority"
    fi
}

cli() {
    redis-cli "${cli_tls[@]}" "$@"
}

echo "starting 3 masters and 3 replicas on ports ${nodes[0]}-${nodes[-1]} in $folder"
for port in "${nodes[@]}"; do
    mkdir "$folder/$port"
    # shellcheck disable=SC2046 # no path here has a blank
    redis-server $(node_flags "$port") --bind 127.0.0.1 --dir "$folder/$port" --cluster-enabled yes \
        --cluster-node-timeout 5000 --repl-diskless-sync-delay 0 --save '' --appendonly no \
        </dev/null >"$folder/$port/log" 2>&1 &
    pids+=($!)
done
for port in "${nodes[@]}"; do
    wait_until "port $port listens" listening "$port"
done

cli --cluster create "${nodes[@]/#/127.0.0.1:}" --cluster-replicas 1 --cluster-yes >"$folder/create" 2>&1 ||
    { cat "$folder/create" >&2; fail "the cluster could not be formed"; }

settled() {
    local replication
    cli -p "$1" cluster info | grep -q cluster_state:ok || return 1
    replication=$(cli -p "$1" info replication)
    grep -qE 'role:master|master_link_status:up' <<<"$replication"
}
for port in "${nodes[@]}"; do
    wait_until "the node at port $port is settled" settled "$port"
done

"$proxy" -log-file "$folder/redis-cluster-proxy.log" "${proxy_tls[@]}" "$@" </dev/null &
proxy_pid=$!

# True too when the proxy has ended: there is nothing to wait for then.
answers() {
    ! kill -0 "$proxy_pid" 2>/dev/null || [ "$(cli -p 8088 ping 2>/dev/null)" = PONG ] ||
        cli -p 8088 ping 2>&1 | grep -q NOAUTH
}
wait_until "the proxy answers" answers
if kill -0 "$proxy_pid" 2>/dev/null; then
    cat <<END

The proxy serves the cluster at port 8088; its log is $folder/redis-cluster-proxy.log.
In another shell, try:

    redis-cli -p 8088${cli_tls[*]:+ ${cli_tls[*]}}

Ctrl-C takes everything down.
END
fi

status=0
wait "$proxy_pid" || status=$?
proxy_pid=
keep=yes
fail "the proxy has ended (exit status $status); its log is in $folder"
