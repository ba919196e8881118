#!/usr/bin/env bash
# Builds the firmware for a Cortex-M4 and runs it in QEMU: the sensor pipeline with its recording read on this machine,
# the heap's tests, and the operation bound against the table in docs/bounds.md.
#
#   scripts/firmware.sh            all of it
#   scripts/firmware.sh --clippy   lints it only (Debian: rust-web-clippy)
#   scripts/firmware.sh --bounds   counts the operation bound in all combinations of states and writes the table
#
# Needs QEMU (Debian: qemu-system-arm), and `core` and `alloc` for thumbv7em-none-eabi: either the target is installed, or
# their sources are and are compiled (Debian: rustc-web cargo-web rust-web-src). Where they are missing it says so and
# ends with 77.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

target=thumbv7em-none-eabi
host_target_dir=${CARGO_TARGET_DIR:-$root/target}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

could_not() { echo "could not run the firmware: $1" && exit 77; }
fail() { echo "firmware: $1" >&2 && exit 1; }

. "$root/scripts/cargo-for.sh"
cargo_for core $target || could_not "$missing"

if [ "${1:-}" = --clippy ]; then
    "${cargo[@]}" clippy --version >/dev/null 2>&1 || could_not "no clippy beside that cargo (Debian: apt-get install rust-web-clippy)"
    cd firmware
    CARGO_TARGET_DIR=$host_target_dir/firmware "${cargo[@]}" clippy "${build_std[@]}" --quiet --release -- \
        -D warnings -D clippy::undocumented_unsafe_blocks
    exit
fi

command -v qemu-system-arm >/dev/null || could_not "no qemu-system-arm (Debian: apt-get install qemu-system-arm)"

(cd firmware && CARGO_TARGET_DIR=$host_target_dir/firmware "${cargo[@]}" build "${build_std[@]}" --quiet --release)

# Runs a program: its name, how much time an instruction takes (2^n ns), its arguments.
emulate() {
    local name=$1 shift=$2 arguments=""
    for argument in "$name" "${@:3}"; do arguments+=",arg=$argument"; done
    timeout 1200 qemu-system-arm -cpu cortex-m4 -machine mps2-an386 -nographic -icount "shift=$shift,sleep=off" \
        -semihosting-config "enable=on,target=native$arguments" \
        -kernel "$host_target_dir/firmware/$target/release/$name" </dev/null
}

evenfit() { cargo run --quiet --release -p evenfit-cli -- "$@"; }

if [ "${1:-}" = --bounds ]; then
    emulate operation_bound 10 "$scratch/table"
    sed -i -e '/^<!-- table: cortex-m4 -->$/r '"$scratch/table" \
        -e '/^<!-- table: cortex-m4 -->$/,/^<!-- end of table: cortex-m4 -->$/{/^<!--/!d}' docs/bounds.md
    exit
fi

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
emulate operation_bound 10
