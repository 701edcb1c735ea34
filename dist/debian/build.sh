#!/bin/bash
# Makes the Debian package: make deb. The package and the one of its debug symbols lie in target/debian.
# DEBFULLNAME and DEBEMAIL name the maintainer, as for Debian's own tools.
set -euo pipefail
cd "$(dirname "$0")/../.."

CARGO=${CARGO:-cargo}
tools=$PWD/target/tools
if [ ! -x "$tools/bin/cargo-deb" ]; then
    "$CARGO" install cargo-deb --locked --quiet --root "$tools"
fi

# The changelog of the package says which upstream version it is; the changes stand in CHANGELOG.md, which is in it, too.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
maintainer=$(sed -n '/^\[package.metadata.deb\]/,$s/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)
if [ -n "${DEBEMAIL:-}" ]; then
    maintainer="${DEBFULLNAME:-redis-cluster-proxy maintainers} <$DEBEMAIL>"
fi
date=$(git log -1 --format=%aD 2>/dev/null || date -R)
mkdir -p target/debian
cat >target/debian/changelog <<END
redis-cluster-proxy ($version-1) unstable; urgency=medium

  * Version $version: see CHANGELOG.md.

 -- $maintainer  $date
END

"$tools/bin/cargo-deb" deb --locked --dbgsym --maintainer "$maintainer" "$@"

if command -v lintian >/dev/null; then
    # Errors end this script; warnings are shown.
    lintian --fail-on error target/debian/redis-cluster-proxy_"$version"-*.deb
else
    echo "lintian is not installed: the package was not looked at"
fi
