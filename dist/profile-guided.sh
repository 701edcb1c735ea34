#!/bin/bash
# Archives of a release that the compiler has optimized for what the proxy does most: make release-pgo
#
# Builds a proxy that counts where it goes, has it serve the loads of bench/train.py, and builds the release with these
# counts. Takes two builds more than `make release`. The counts lie in target/pgo.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
folder=$PWD/target/pgo

# The program that reads the counts must be as new as the compiler's LLVM wants it: one with the compiler is.
reads() { # program
    command -v "$1" >/dev/null && "$1" merge -o "$folder/merged.profdata" "$folder"/counts/*.profraw 2>/dev/null
}

rm -rf "$folder/counts"
mkdir -p "$folder/counts"
RUSTFLAGS="-Cprofile-generate=$folder/counts" "$CARGO" build --release --locked --target-dir "$folder"
# Build scripts and macros have counted, too.
rm -f "$folder"/counts/*
PROXY_BIN=$folder/release/redis-cluster-proxy python3 bench/train.py

for program in "$(rustc --print target-libdir)/../bin/llvm-profdata" llvm-profdata $(compgen -c llvm-profdata- | sort -rV); do
    if reads "$program"; then
        RUSTFLAGS="-Cprofile-use=$folder/merged.profdata" CARGO=$CARGO exec bash dist/release.sh
    fi
done
echo "no llvm-profdata reads what this compiler writes: rustup component add llvm-tools, or a newer llvm of the system" >&2
exit 1
