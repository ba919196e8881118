#!/usr/bin/env bash
# Builds the WebAssembly example with evenfit and, for its size, with talc, and runs both under Node.
#
# Needs wasm32-unknown-unknown's `core` and `alloc`: either the target is installed, or their sources are and are compiled
# (Debian: apt-get install rustc-web cargo-web rust-web-src). Skips, and says what is missing, where neither is.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
example=$root/crates/evenfit/examples/wasm
target=wasm32-unknown-unknown
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/wasm

command -v node >/dev/null || { echo "skipped: no node" && exit 0; }

has_core() { [ -n "$(find "$("$1" --print sysroot)/lib/rustlib/$target/lib" -name 'libcore-*' 2>/dev/null)" ]; }
has_source() { [ -d "$("$1" --print sysroot)/lib/rustlib/src/rust/library/core" ]; }

build=()
if has_core rustc; then
    build=(cargo build)
elif [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && has_source /usr/bin/rustc; then
    lld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
    build=(env "PATH=/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$lld"
        /usr/bin/cargo build -Zbuild-std=core,alloc)
else
    echo "skipped: no core for $target, and no sources to build it from (Debian: rustc-web cargo-web rust-web-src)"
    exit 0
fi

for allocator in evenfit talc; do
    "${build[@]}" --quiet --release --target "$target" --manifest-path "$example/Cargo.toml" \
        --no-default-features --features "$allocator"
    cp "$CARGO_TARGET_DIR/$target/release/example.wasm" "$CARGO_TARGET_DIR/$allocator.wasm"
    node "$example/run.mjs" "$CARGO_TARGET_DIR/$allocator.wasm"
done
