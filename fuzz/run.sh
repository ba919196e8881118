#!/bin/sh
# Fuzzes one target: fuzz/run.sh TARGET SECONDS [libFuzzer options]
# Targets: blocks slabs compact late_writer garbage shared c trace csv heaptrack esp_idf system_view
# zephyr. Needs a C++ compiler. Seeds: fuzz/seeds/TARGET. New inputs go to fuzz/corpus/TARGET, and a
# crash to fuzz/crashes/TARGET.
set -eu
[ $# -ge 2 ] || { sed -n 2,5p "$0" >&2; exit 2; }
target=$1 seconds=$2
shift 2
cd "$(dirname "$0")"
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
 -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
cargo build --release --target "$triple"
binary=${CARGO_TARGET_DIR:-target}/$triple/release/any
mkdir -p "corpus/$target" "crashes/$target" "seeds/$target"
EVENFIT_TARGET=$target exec "$binary" "corpus/$target" "seeds/$target" \
    -max_total_time="$seconds" -max_len=4096 -artifact_prefix="crashes/$target/" -print_final_stats=1 "$@"
