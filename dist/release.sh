#!/bin/bash
# Makes the files of a release: make release. They lie in target/release-files:
#
#   redis-cluster-proxy-VERSION-TARGET.tar.gz         binary without symbols, documents, unit, configuration
#   redis-cluster-proxy-VERSION-TARGET.debug.tar.gz   its debug symbols
#   SHA256SUMS
#   image/redis-cluster-proxy                         the static binary, for dist/Dockerfile
#
# TARGETs are this machine's own and the static one of musl, if rustup has its target and Debian's
# musl-tools are installed: rustup target add x86_64-unknown-linux-musl
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
NAME=redis-cluster-proxy
out=target/release-files
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
host=$(rustc -vV | sed -n 's/^host: //p')
static=${host%%-*}-unknown-linux-musl
# The same commit makes the same archive.
date=$(git log -1 --format=%ct 2>/dev/null || date +%s)

rm -rf "$out"
mkdir -p "$out"

pack() { # archive folder
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$date" -C "$(dirname "$2")" -cf - "$(basename "$2")" |
        gzip -9n >"$out/$1"
}

# Folders with the binary and with its symbols, which debuggers find by the binary's build id and by the name beside it.
make_target() { # target
    local release=$NAME-$version-$1 built=target/release/$NAME cross=()
    if [ "$1" != "$host" ]; then
        built=target/$1/release/$NAME cross=(--target "$1")
    fi
    "$CARGO" build --release --locked --target-dir target --bin "$NAME" "${cross[@]}"
    local folder=$out/$release debug=$out/$release.debug
    mkdir -p "$folder" "$debug"
    objcopy --only-keep-debug "$built" "$debug/$NAME.debug"
    objcopy --strip-all "$built" "$folder/$NAME"
    (cd "$debug" && objcopy --add-gnu-debuglink="$NAME.debug" "../$release/$NAME")
    chmod 644 "$debug/$NAME.debug"
    cp README.md CHANGELOG.md LICENSE dist/$NAME.conf "$folder"
    cp -r dist/man dist/completions dist/systemd dist/monitoring "$folder"
    # In their places, so that the links between them hold.
    mkdir -p "$folder/dist" "$folder/src/command"
    cp -r dist/README.md dist/docs "$folder/dist"
    cp src/command/COMMANDS.md "$folder/src/command"
    pack "$release.tar.gz" "$folder"
    pack "$release.debug.tar.gz" "$debug"
    if [ "$1" = "$static" ]; then
        mkdir -p "$out/image"
        cp "$folder/$NAME" "$out/image/"
    fi
    rm -rf "$folder" "$debug"
}

make_target "$host"
if [ "$host" = "$static" ]; then
    :
elif [ ! -d "$(rustc --print sysroot)/lib/rustlib/$static" ]; then
    echo "no static build, and so no file for the image: rustup target add $static"
elif ! command -v musl-gcc >/dev/null; then
    # TLS has C and assembler in it.
    echo "no static build, and so no file for the image: apt-get install musl-tools"
else
    make_target "$static"
fi
(cd "$out" && sha256sum -- *.tar.gz | tee SHA256SUMS)
