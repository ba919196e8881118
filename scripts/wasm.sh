#!/usr/bin/env bash
# Builds the WebAssembly example with evenfit and, to compare its size, with talc. Runs both in
# Node.
#
# Needs wasm32-unknown-unknown's `core` and `alloc`: the target installed, or their sources, which
# are then compiled (Debian: apt-get install rustc-web cargo-web rust-web-src). If it finds neither,
# it says so and skips.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
example=$root/crates/evenfit/examples/wasm
target=wasm32-unknown-unknown
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/wasm

command -v node >/dev/null || { echo "skipped: no node" && exit 0; }

. "$root/scripts/cargo-for.sh"
cargo_for core $target || { echo "skipped: $missing" && exit 0; }

for allocator in evenfit talc; do
    "${cargo[@]}" build "${build_std[@]}" --quiet --release --target "$target" --manifest-path "$example/Cargo.toml" \
        --no-default-features --features "$allocator"
    cp "$CARGO_TARGET_DIR/$target/release/example.wasm" "$CARGO_TARGET_DIR/$allocator.wasm"
    node "$example/run.mjs" "$CARGO_TARGET_DIR/$allocator.wasm"
done
