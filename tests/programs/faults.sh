#!/bin/bash
# Programs of rows.txt in a namespace, while the master of the namespace's slot fails over and the slot moves to another
# node, again and again: each has to account for all its jobs as before one server at peace.
#
# usage: tests/programs/faults.sh [NAME]...     RQ, Dramatiq and taskiq, if none is named
#
# With CRASH=yes the master is killed instead, once its replica has all that it has acknowledged; it comes back as a replica.
# What was under way then has an unknown outcome, and a program that does not send it again says so. ROUNDS says how often
# each program is run (3).
#
# It needs what run.sh has installed under target/programs. As root it runs in a network namespace of its own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/target/programs
proxy=${PROXY:-$root/target/debug/redis-cluster-proxy}
python=${PYTHON:-$work/python/bin/python}
[ $# -gt 0 ] || set -- RQ Dramatiq taskiq
if [ "$(id -u)" = 0 ] && [ "${IN_NAMESPACE:-}" = "" ]; then
    IN_NAMESPACE=yes exec unshare -n "$0" "$@"
fi
[ "${IN_NAMESPACE:-}" = "" ] || ip link set lo up

# shellcheck source=tests/programs/servers.sh
. "$here/servers.sh"
start_cluster 1 17001 17002 17003 17004 17005 17006
start "$proxy" -startup-nodes "$list" -addr 127.0.0.1:18090 -log-file "$data/proxy.log" -namespace programs
sleep 1
slot=$(redis-cli -p 17001 cluster keyslot programs)

# The ports of the masters, the slot's own first.
masters() {
    redis-cli -p "$1" cluster nodes | awk -v slot="$slot" '
        $3 ~ /master/ && $3 !~ /fail/ { split($2, at, "[:@]"); own = 0
            for (i = 9; i <= NF; i++) if ($i !~ /\[/) { n = split($i, range, "-"); if (slot >= range[1] && slot <= range[n]) own = 1 }
            if (own) print at[2]; else rest = rest at[2] "\n" }
        END { printf "%s", rest }'
}

# A replica of the slot's master takes over; then the slot moves to another master, key by key.
disturb() {
    local rounds=0
    while :; do
        local owner id replica target
        owner=$(masters 17001 | sed -n 1p)
        id=$(redis-cli -p "$owner" cluster myid)
        replica=$(redis-cli -p "$owner" cluster nodes | awk -v id="$id" '$4 == id && $3 !~ /fail/ { split($2, at, "[:@]"); print at[2]; exit }')
        [ -z "$replica" ] || redis-cli -p "$replica" cluster failover >>"$data/log" && echo failover >>"$data/disturbed"
        sleep 1.5
        owner=$(masters 17001 | sed -n 1p)
        target=$(masters 17001 | sed -n 2p)
        local from to
        from=$(redis-cli -p "$owner" cluster myid) to=$(redis-cli -p "$target" cluster myid)
        redis-cli -p "$target" cluster setslot "$slot" importing "$from" >>"$data/log"
        redis-cli -p "$owner" cluster setslot "$slot" migrating "$to" >>"$data/log"
        local keys=x
        while [ -n "$keys" ]; do
            keys=$(redis-cli -p "$owner" cluster getkeysinslot "$slot" 100)
            # shellcheck disable=SC2086
            [ -z "$keys" ] || redis-cli -p "$owner" migrate 127.0.0.1 "$target" "" 0 5000 replace keys $keys >>"$data/log"
        done
        for port in "$target" "$owner"; do redis-cli -p "$port" cluster setslot "$slot" node "$to" >>"$data/log"; done
        echo moved >>"$data/disturbed"
        rounds=$((rounds + 1))
        sleep 1.5
    done
}
# The port of a replica that has all that this master has, which takes no writes for a moment.
caught_up() {
    local owner=$1 offset replica
    redis-cli -p "$owner" client pause 3000 write >>"$data/log"
    replica=$(redis-cli -p "$owner" info replication | sed -n 's/^slave0:ip=[^,]*,port=\([0-9]*\),.*/\1/p')
    [ -n "$replica" ] || return 0
    for _ in $(seq 50); do
        offset=$(redis-cli -p "$owner" info replication | tr -d '\r' | sed -n 's/^master_repl_offset://p')
        [ "$(redis-cli -p "$replica" info replication | tr -d '\r' | sed -n 's/^slave_repl_offset://p')" != "$offset" ] || break
        sleep 0.02
    done
    echo "$replica"
}

# The slot's master is killed, and started again when its replica has taken over.
crash() {
    while :; do
        local owner replica pid
        sleep 3
        owner=$(masters 17001 | sed -n 1p)
        [ -n "$owner" ] || owner=$(masters 17002 | sed -n 1p)
        replica=$(caught_up "$owner")
        if [ -z "$replica" ]; then
            redis-cli -p "$owner" client unpause >>"$data/log"
            continue
        fi
        pid=$(redis-cli -p "$owner" info server | tr -d '\r' | sed -n 's/^process_id://p')
        kill -9 "$pid"
        echo crash >>"$data/disturbed"
        until redis-cli -p "$replica" role 2>/dev/null | head -1 | grep -q master; do sleep 0.1; done
        start_node "$owner" --cluster-node-timeout 2000
        until redis-cli -p "$owner" info replication 2>/dev/null | grep -q master_link_status:up; do sleep 0.1; done
    done
}

if [ "${CRASH:-}" = yes ]; then crash & else disturb & fi
echo $! >>"$data/pids"

wrong=0
while IFS='|' read -r name _ _ _ line; do
    [[ " $* " = *" $name "* ]] || continue
    read -ra words <<<"$line"
    [ "${words[0]}" = python ] || continue
    for round in $(seq "${ROUNDS:-3}"); do
        redis-cli -p 18090 flushall >>"$data/log"
        : >"$data/disturbed"
        (cd "$data" && timeout 180 env PORT=18090 "${words[@]:2}" "$python" "$here/python/${words[1]}" >"$data/said" 2>&1 </dev/null) || true
        verdict=$(tail -n 1 "$data/said")
        [ "$verdict" = ok ] || { wrong=$((wrong + 1)); cp "$data/said" "/tmp/$name.said" 2>/dev/null || true; }
        echo "$name ${words[*]:2} round $round: ${verdict:0:150}; failovers and moves meanwhile: $(sort "$data/disturbed" | uniq -c | tr -s ' \n' ' ')"
    done
done <"$here/rows.txt"
exit $((wrong > 0))
