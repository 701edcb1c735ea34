#!/usr/bin/env bash
# Installs the Debian packages named, those only whose program is not there yet.
set -euo pipefail

# Whether what a package is wanted for is there, wherever it came from.
present() {
    case $1 in
        python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        linux-perf) perf --version >/dev/null 2>&1 ;;
        stunnel4) command -v stunnel >/dev/null ;;
        haproxy | nutcracker) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
        nodejs) command -v node >/dev/null ;;
        iproute2) command -v ip >/dev/null ;;
        binutils) command -v objcopy >/dev/null ;;
        dpkg-dev) command -v dpkg-shlibdeps >/dev/null ;;
        redis-server) command -v redis-server >/dev/null && command -v redis-cli >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing=()
for package in "$@"; do
    present "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]}; there is no apt-get here: install them in this system's own way" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "missing: ${missing[*]}; as root: apt-get update && apt-get install ${missing[*]}" >&2
    exit 1
fi

echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -q --no-install-recommends "${missing[@]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" "${install[@]}"; } </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    echo "cannot install ${missing[*]}: see above" >&2
    exit 1
fi
