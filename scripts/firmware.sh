#!/usr/bin/env bash
# Builds the firmware and runs it in QEMU on a Cortex-M4: the sensor pipeline, whose recording is
# then read on this machine; the heap's tests; and the operation bound, compared with the table in
# docs/bounds.md, at the levels 3, s and z, as code for a Cortex-M4 and for a Cortex-M0.
#
#   scripts/firmware.sh            everything
#   scripts/firmware.sh --clippy   only clippy (Debian: rust-web-clippy)
#   scripts/firmware.sh --bounds   counts in many more states, and writes the table: see bounds.sh
#
# Needs QEMU (Debian: qemu-system-arm), and `core` and `alloc` for thumbv7em-none-eabi and
# thumbv6m-none-eabi: the targets installed, or their sources, which are then compiled (Debian:
# rustc-web cargo-web rust-web-src). If something is missing, it says what, and exits with 77.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

m4=thumbv7em-none-eabi
m0=thumbv6m-none-eabi
host_target_dir=${CARGO_TARGET_DIR:-$root/target}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

could_not() { echo "could not run the firmware: $1" && exit 77; }
fail() { echo "firmware: $1" >&2 && exit 1; }

. "$root/scripts/cargo-for.sh"
cargo_for core $m4 $m0 || could_not "$missing"

if [ "${1:-}" = --clippy ]; then
    "${cargo[@]}" clippy --version >/dev/null 2>&1 || could_not "no clippy beside that cargo (Debian: apt-get install rust-web-clippy)"
    cd firmware
    CARGO_TARGET_DIR=$host_target_dir/firmware "${cargo[@]}" clippy "${build_std[@]}" --quiet --release -- \
        -D warnings -D clippy::undocumented_unsafe_blocks
    exit
fi

command -v qemu-system-arm >/dev/null || could_not "no qemu-system-arm (Debian: apt-get install qemu-system-arm)"

# Builds for a target at a level of optimisation; what else cargo is told.
build() {
    (cd firmware && CARGO_TARGET_DIR=$host_target_dir/firmware CARGO_PROFILE_RELEASE_OPT_LEVEL=$2 \
        "${cargo[@]}" build "${build_std[@]}" --quiet --release --target "$1" "${@:3}")
}

# Runs a program, of $target: its name, how much time an instruction takes (2^n ns), its arguments.
target=$m4
emulate() {
    local name=$1 shift=$2 arguments=""
    for argument in "$name" "${@:3}"; do arguments+=",arg=$argument"; done
    timeout 1200 qemu-system-arm -cpu cortex-m4 -machine mps2-an386 -nographic -icount "shift=$shift,sleep=off" \
        -semihosting-config "enable=on,target=native$arguments" \
        -kernel "$host_target_dir/firmware/$target/release/$name" </dev/null
}

evenfit() { cargo run --quiet --release -p evenfit-cli -- "$@"; }

# Calls a function after each build of the operation bound.
at_every_level() {
    for target in $m4 $m0; do
        for level in 3 s z; do
            build $target $level --bin operation_bound
            "$@"
        done
    done
}

if [ "${1:-}" = --bounds ]; then
    count() { emulate operation_bound 10 "$scratch/bounds.md" && cp "$scratch/bounds.md" docs/bounds.md; }
    at_every_level count
    exit
fi

build $m4 3
echo "-- the sensor pipeline, recorded"
evenfit bound firmware/contract.toml --pool 64KiB --rust "$scratch/contract.rs" >"$scratch/bound" ||
    fail "its pool is not proved safe: $(cat "$scratch/bound")"
cmp "$scratch/contract.rs" firmware/src/bin/pipeline/contract.rs ||
    fail "contract.rs is not made from contract.toml: evenfit bound firmware/contract.toml --rust firmware/src/bin/pipeline/contract.rs"
emulate pipeline 6 "$scratch/pipeline.evt" | tee "$scratch/printed"
evenfit info "$scratch/pipeline.evt" | grep -E "operations|peak live|never freed|call sites|threads"
evenfit replay "$scratch/pipeline.evt" --pool 64KiB --allocator blocks --verify --check-every 100 |
    grep -E "fits|high-water" | tee "$scratch/replayed"
peak=$(sed -n 's/^used .* \([0-9]*\) at the peak$/\1/p' "$scratch/printed")
tr -d , <"$scratch/replayed" | grep -q "high-water mark *$peak bytes" || fail "the replay's peak is not the board's"

echo "-- the sensor pipeline, with a backlog that its contract forbids"
if emulate pipeline 6 overload >"$scratch/overload"; then fail "nobody noticed"; fi
grep "contract   broken: frame" "$scratch/overload" || fail "the wrong end: $(cat "$scratch/overload")"

echo "-- the heap's tests"
emulate heap_tests 0

echo "-- the operation bound"
at_every_level emulate operation_bound 10
