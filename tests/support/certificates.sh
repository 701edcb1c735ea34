#!/usr/bin/env bash
# Makes an authority and certificates that it vouches for, in a folder: ca.crt, and own.crt with own.key, which servers
# and clients on this machine show. certificates.sh FOLDER NAME [SUBJECT_ALT_NAME [DAYS]]: another pair, NAME.crt and
# NAME.key.
set -euo pipefail
umask 077
mkdir -p "$1"
cd "$1"
name=${2:-own}
names=${3:-DNS:localhost,IP:127.0.0.1}
days=${4:-30}
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

make() {
    local said
    said=$(openssl req -x509 "${key[@]}" "$@" 2>&1) || { echo "$said" >&2; exit 1; }
}

if [ ! -e ca.crt ]; then
    make -days 3650 -subj "/CN=authority" -keyout ca.key -out ca.crt.new
    mv ca.crt.new ca.crt
fi
make -CA ca.crt -CAkey ca.key -days "$days" -subj "/CN=$name" -addext "subjectAltName=$names" \
    -addext basicConstraints=critical,CA:FALSE -keyout "$name.key.new" -out "$name.crt.new"
mv "$name.key.new" "$name.key"
mv "$name.crt.new" "$name.crt"
