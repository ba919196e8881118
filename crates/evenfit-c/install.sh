#!/usr/bin/env bash
# Installs the C and C++ library: crates/evenfit-c/install.sh PREFIX
# Honours DESTDIR, CARGO, CARGO_TARGET_DIR, and FEATURES: asan or valgrind, see docs/c.md. Linux.
set -euo pipefail

if [ $# -ne 1 ] || [ -z "${1:-}" ] || [ "${1#-}" != "$1" ]; then
    echo "usage: $0 PREFIX    (for example /usr/local)" >&2
    exit 2
fi
crate=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${DESTDIR:-}$1"
prefix=$(cd "${DESTDIR:-}$1" && pwd)
cargo=${CARGO:-cargo}
version=$("$cargo" pkgid --manifest-path "$crate/Cargo.toml" | sed 's/.*[#@]//')

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$crate/../../target}
# Programs that are linked with the shared library will look for it by its soname.
"$cargo" rustc --quiet --profile c --lib --crate-type staticlib,cdylib --manifest-path "$crate/Cargo.toml" \
    --features "${FEATURES:-}" -- -C link-arg=-Wl,-soname,libevenfit.so.0
built=$CARGO_TARGET_DIR/c

install -d "$prefix"/{include,lib/pkgconfig,lib/cmake/evenfit,share/evenfit/examples}
install -m 644 "$crate"/include/* "$prefix/include"
install -m 644 "$built/libevenfit_c.a" "$prefix/lib/libevenfit.a"
install -m 755 "$built/libevenfit_c.so" "$prefix/lib/libevenfit.so.$version"
ln -sf "libevenfit.so.$version" "$prefix/lib/libevenfit.so.0"
ln -sf libevenfit.so.0 "$prefix/lib/libevenfit.so"
for template in "$crate"/package/*.in; do
    name=$(basename "$template" .in)
    case $name in *.pc) place=lib/pkgconfig ;; *) place=lib/cmake/evenfit ;; esac
    sed -e "s|@PREFIX@|${1%/}|" -e "s|@VERSION@|$version|" "$template" >"$prefix/$place/$name"
done
install -m 644 "$crate/package/evenfitConfig.cmake" "$prefix/lib/cmake/evenfit"
install -m 644 "$crate"/examples/* "$crate/package/CMakeLists.txt" "$prefix/share/evenfit/examples"
echo "installed evenfit $version in $prefix"
