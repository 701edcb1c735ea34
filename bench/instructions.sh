#!/usr/bin/env bash
# Instructions per GET in the core, counted by callgrind: a request in, its reply out, sockets left out.
# usage: instructions.sh [CLIENTS NODES PIPELINE]
set -euo pipefail
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "valgrind is not installed (apt-get install valgrind)" >&2; exit 1; }
program=$(cargo bench --locked --bench core --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*core-[^"]*\)".*/\1/p' | tail -n 1)

count() {
    local out result
    out=$(mktemp)
    result=$(valgrind --tool=callgrind --callgrind-out-file="$out" --toggle-collect='*core*measured*' \
        "$program" "$1" "$2" "$3" "$4" 2>&1)
    local commands instructions
    commands=$(sed -n 's/.*: \([0-9]*\) commands.*/\1/p' <<<"$result")
    instructions=$(sed -n 's/^summary: \([0-9]*\).*/\1/p' "$out" | head -n 1)
    [ -n "$instructions" ] || instructions=$(sed -n 's/^totals: \([0-9]*\).*/\1/p' "$out" | head -n 1)
    echo "$1 clients, $2 nodes, pipeline $3: $((instructions / commands)) instructions per GET"
    if [ -n "${SHOW:-}" ]; then callgrind_annotate "$out" | head -n "$SHOW"; fi
    rm -f "$out"
}

if [ $# -ge 3 ]; then
    count "$1" "$2" "$3" 400
else
    count 50 3 1 1000
    count 50 3 16 100
    count 10000 1000 1 1000
    count 10000 1000 16 100
fi
