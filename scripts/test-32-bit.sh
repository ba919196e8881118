#!/usr/bin/env bash
# The tests of the heap and of its oracles as 32-bit x86 code: on the processor if the kernel allows
# that, otherwise under qemu-i386. Arguments are passed on to `cargo test`.
#
# Needs the 32-bit standard library: the target installed, or its sources, which are then compiled
# (Debian: apt-get install rustc-web cargo-web rust-web-src); and gcc-i686-linux-gnu,
# libc6-dev-i386-cross and perhaps qemu-user. If something is missing, it says so, and exits with
# 77.
set -euo pipefail
cd "$(dirname "$0")/.."

target=i686-unknown-linux-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/32-bit
libraries=/usr/i686-linux-gnu

could_not() { echo "could not run the tests as 32-bit code: $1" && exit 77; }

command -v i686-linux-gnu-gcc >/dev/null || could_not "no i686-linux-gnu-gcc (Debian: gcc-i686-linux-gnu libc6-dev-i386-cross)"
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc
export CC_i686_unknown_linux_gnu=i686-linux-gnu-gcc
if $libraries/lib/ld-linux.so.2 --version >/dev/null 2>&1; then
    runner="$libraries/lib/ld-linux.so.2 --library-path $libraries/lib"
elif command -v qemu-i386 >/dev/null; then
    runner="qemu-i386 -L $libraries"
else
    could_not "the kernel runs no 32-bit programs, and there is no qemu-i386 (Debian: qemu-user)"
fi
export CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUNNER=$runner

. scripts/cargo-for.sh
cargo_for std $target || could_not "$missing"

"${cargo[@]}" test "${build_std[@]}" --target $target -p evenfit -p evenfit-verify "$@"
