#!/usr/bin/env bash
# Builds the library for other targets than this machine's: with the default features, without any,
# and for targets without threads with critical sections.
#
# Needs `core` and `alloc` for them: the targets installed, or the sources (Debian: rustc-web
# cargo-web rust-web-src). If they are missing, it says so, and exits with 77.
set -euo pipefail
cd "$(dirname "$0")/.."

bare="thumbv6m-none-eabi thumbv7em-none-eabi riscv32imc-unknown-none-elf"
hosted="wasm32-unknown-unknown i686-unknown-linux-gnu"

. scripts/cargo-for.sh
# shellcheck disable=SC2086
cargo_for core $bare $hosted || { echo "could not build for other targets: $missing" && exit 77; }
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/targets

build() { "${cargo[@]}" build "${build_std[@]}" --quiet -p evenfit --lib --target "$@"; }

for target in $bare $hosted; do
    build "$target"
    build "$target" --no-default-features
    case $bare in *$target*) build "$target" --features critical-section ;; esac
    echo "$target: builds"
done
