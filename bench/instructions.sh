#!/usr/bin/env bash
# Instructions per GET in the core, counted by callgrind: a request in, its reply out. Only what the shell
# asks of the core is counted (`measured` in core.rs); what stands for the kernel and the nodes is not.
# usage: instructions.sh [CLIENTS NODES PIPELINE [get|hit|mget|mset [RULES]]]; SHOW=30 also prints where they are spent. RULES are
# those of the clients' user; the last rows of the table show what a check costs beside the first.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "valgrind is not installed (apt-get install valgrind)" >&2; exit 1; }
program=$(cargo bench --locked --bench core --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*core-[^"]*\)".*/\1/p' | tail -n 1)
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# total CLIENTS NODES PIPELINE TURNS WORK RULES: instructions and commands of one run.
total() {
    valgrind --tool=callgrind --callgrind-out-file="$out" \
        --toggle-collect='core::measured::*' --toggle-collect='core::write' --toggle-collect='core::fill' \
        "$program" "$@" 2>&1 | sed -n 's/.*: \([0-9]*\) commands.*/\1/p'
    sed -n -E 's/^(summary|totals): ([0-9]*).*/\2/p' "$out" | head -n 1
}

# The difference of two runs, so that what comes before the first counted turn falls out.
count() {
    local short long
    mapfile -t short < <(total "$1" "$2" "$3" "$4" "$5" "${6:-}")
    mapfile -t long < <(total "$1" "$2" "$3" "$(($4 * 2))" "$5" "${6:-}")
    local commands=$((long[0] - short[0])) instructions=$((long[1] - short[1]))
    echo "$1 clients, $2 nodes, pipeline $3: $((instructions / commands)) instructions per ${5^^}${6:+ ($6)}"
    if [ -n "${SHOW:-}" ]; then callgrind_annotate "$out" | head -n "$SHOW"; fi
}

if [ $# -ge 3 ]; then
    count "$1" "$2" "$3" "${TURNS:-$((1000 * 3 / $2 / $3 + 1))}" "${4:-get}" "${5:-}"
else
    count 50 3 1 1000 get
    count 50 3 16 100 get
    count 50 3 1 1000 hit
    count 50 3 16 100 hit
    count 10000 1000 1 8 get
    count 10000 1000 16 3 get
    count 50 3 1 300 mget
    count 50 3 1 300 mset
    count 50 3 1 1000 get "on nopass ~key:* +@all"
    count 50 3 16 100 get "on nopass ~key:* +@all"
fi
