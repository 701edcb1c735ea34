#!/bin/bash
# Makes the files of a release with profile-guided optimization: make release-pgo
#
# Builds an instrumented proxy, runs the loads of bench/train.py against it, and builds the release with the profile. It
# takes one build more than `make release`. The profile is in target/pgo.
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
folder=$PWD/target/pgo

# llvm-profdata must read the profile format of this compiler. The one of the llvm-tools component always does.
reads() { # program
    command -v "$1" >/dev/null && "$1" merge -o "$folder/merged.profdata" "$folder"/counts/*.profraw 2>/dev/null
}

rm -rf "$folder/counts"
mkdir -p "$folder/counts"
RUSTFLAGS="-Cprofile-generate=$folder/counts" "$CARGO" build --release --locked --target-dir "$folder"
# Build scripts and macros have written profiles, too.
rm -f "$folder"/counts/*
PROXY_BIN=$folder/release/redis-cluster-proxy python3 bench/train.py

for program in "$(rustc --print target-libdir)/../bin/llvm-profdata" llvm-profdata $(compgen -c llvm-profdata- | sort -rV); do
    if reads "$program"; then
        RUSTFLAGS="-Cprofile-use=$folder/merged.profdata" CARGO=$CARGO exec bash dist/release.sh
    fi
done
echo "no llvm-profdata reads what this compiler writes: rustup component add llvm-tools, or a newer llvm of the system" >&2
exit 1
