#!/bin/bash
# Runs the programs of rows.txt, each against one redis-server, the proxy at its defaults, and the proxy with
# -cross-slot-transactions per-slot, and with -namespace, before three masters; compares with what rows.txt says.
#
# usage: tests/programs/run.sh [NAME]...      rows of these names only
#
# With ONLY=namespace in the environment the proxy with -namespace alone is tried, beside one redis-server.
#
# It needs redis-server, python3 and npm; ruby with Debian's ruby-sidekiq and PHP with php-redis and php-predis for theirs.
# Packages are installed under target/programs. As root it runs in a network namespace of its own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$root/target/programs
proxy=${PROXY:-$root/target/debug/redis-cluster-proxy}
[ -x "$proxy" ] || { echo "$proxy is not there: cargo build makes it"; exit 2; }

install() {
    for kind in python arq; do
        list=requirements.txt
        [ $kind = arq ] && list=requirements-arq.txt
        cmp -s "$here/$list" "$work/$kind/ready" && continue
        python3 -m venv "$work/$kind"
        "$work/$kind/bin/pip" install --quiet --disable-pip-version-check -r "$here/$list"
        cp "$here/$list" "$work/$kind/ready"
    done
    if ! cmp -s "$here/node/package.json" "$work/node/ready"; then
        mkdir -p "$work/node"
        cp "$here/node/package.json" "$work/node/"
        (cd "$work/node" && npm install --silent --no-audit --no-fund)
        cp "$here/node/package.json" "$work/node/ready"
    fi
    cp "$here"/node/*.mjs "$work/node/"
}

if [ "${IN_NAMESPACE:-}" = "" ]; then
    mkdir -p "$work"
    install
    if [ "$(id -u)" = 0 ]; then
        IN_NAMESPACE=yes exec unshare -n "$0" "$@"
    fi
else
    ip link set lo up
fi

# shellcheck source=tests/programs/servers.sh
. "$here/servers.sh"
start redis-server --port 16400 --dir "$data" --save ''
start_cluster 0 17001 17002 17003
start "$proxy" -startup-nodes "$list" -addr 127.0.0.1:18088 -log-file "$data/default.log"
start "$proxy" -startup-nodes "$list" -addr 127.0.0.1:18089 -log-file "$data/per-slot.log" -cross-slot-transactions per-slot
start "$proxy" -startup-nodes "$list" -addr 127.0.0.1:18090 -log-file "$data/namespace.log" -namespace programs
sleep 1

# `yes` if the program comes to its good end at this port.
works() {
    local port=$1 folder=$2 program=$3
    shift 3
    redis-cli -p "$port" flushall >>"$data/log"
    local command=()
    case $folder in
        python | arq) command=("$work/$folder/bin/python" "$here/python/$program") ;;
        node) command=(node "$work/node/$program") ;;
        *) command=("$folder" "$here/$folder/$program") ;;
    esac
    (cd "$data" && timeout 120 env PORT="$port" "$@" "${command[@]}" >"$data/said" 2>&1 </dev/null) || true
    tail -n 1 "$data/said" | grep -qx ok && echo yes || echo no
}

why() {
    grep -aoiE "(CROSSSLOT|WATCH is not|Script attempted|waited in vain|[A-Za-z]*Error:|hash to the same).{0,80}" "$data/said" | tail -n 1 || true
}

wrong=0
while IFS='|' read -r name default per_slot namespace line; do
    [[ $name = \#* ]] && continue
    [ $# = 0 ] || [[ " $* " = *" $name "* ]] || continue
    read -ra words <<<"$line"
    if [[ ${words[0]} = php || ${words[0]} = ruby ]] && ! command -v "${words[0]}" >>"$data/log"; then
        wrong=$((wrong + 1))
        printf '%-9s %-22s there is no %s\n' "NOT RUN" "$name" "${words[0]}"
        continue
    fi
    one=$(works 16400 "${words[@]}")
    found=$default found_per_slot=$per_slot reason=
    if [ "${ONLY:-}" != namespace ]; then
        found=$(works 18088 "${words[@]}")
        reason=$([ "$found" = yes ] || why)
        found_per_slot=$(works 18089 "${words[@]}")
    fi
    found_namespace=$(works 18090 "${words[@]}")
    [ "$found_namespace" = yes ] || reason+=" in a namespace: $(why)"
    verdict=as-said
    if [ "$one $found $found_per_slot $found_namespace" != "yes $default $per_slot $namespace" ]; then
        verdict=OTHERWISE
        wrong=$((wrong + 1))
    fi
    printf '%-9s %-22s one server %-3s default %-3s per-slot %-3s namespace %-3s %s  %s\n' \
        "$verdict" "$name" "$one" "$found" "$found_per_slot" "$found_namespace" "${words[*]:1}" "$reason"
done <"$here/rows.txt"
echo "$wrong rows are not as rows.txt says"
exit $((wrong > 0))
