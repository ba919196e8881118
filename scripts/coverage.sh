#!/usr/bin/env bash
# How much of crates/evenfit its tests cover, compared with scripts/coverage.txt:
#   scripts/coverage.sh            fails where lines or regions have dropped
#   scripts/coverage.sh --record   writes what was measured to that file
#   scripts/coverage.sh --show     also prints the lines that no test reaches
# Needs llvm-profdata and llvm-cov of the compiler's LLVM (Debian: llvm-22); else it skips.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-}
case $mode in '' | --record | --show) ;; *) sed -n 2,6p "$0" >&2; exit 2 ;; esac

major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
for directory in "${LLVM_BIN:-}" "/usr/lib/llvm-$major/bin" "$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin"; do
    [ -n "$directory" ] && [ -x "$directory/llvm-cov" ] && [ -x "$directory/llvm-profdata" ] && bin=$directory && break
done
if [ -z "${bin:-}" ]; then
    echo "skipped: coverage needs llvm-cov and llvm-profdata of LLVM $major (Debian: llvm-$major), or LLVM_BIN"
    exit 0
fi

out=${CARGO_TARGET_DIR:-target}/coverage
rm -rf "$out/profiles" && mkdir -p "$out/profiles"
export CARGO_TARGET_DIR=$out RUSTFLAGS=-Cinstrument-coverage LLVM_PROFILE_FILE="$PWD/$out/profiles/%m-%p.profraw"
case $out in /*) LLVM_PROFILE_FILE="$out/profiles/%m-%p.profraw" ;; esac
features=lock_api,critical-section,pi-futex,fork,allocator-api2,allocator-api2-03,allocator-api2-04
# Of the tests of evenfit all but those that build other programs; of the evidence those that are
# quick.
own=$(cd crates/evenfit/tests && ls ./*.rs | sed 's|./\(.*\)\.rs|\1|' | grep -vE '^(no_panic|nightly)$' | sed 's/^/--test /')
: >"$out/ran"
run() {
    cargo test "$@" --no-fail-fast >"$out/tests.log" 2>&1 || { cat "$out/tests.log"; exit 1; }
    sed -n 's/^ *Running .* (\(.*\))$/\1/p' "$out/tests.log" >>"$out/ran"
}
# shellcheck disable=SC2086
run -p evenfit --features $features --lib $own
run -p evenfit-verify --test fuzz_seeds --test hostile --test exhaustive

"$bin/llvm-profdata" merge -sparse "$out"/profiles/*.profraw -o "$out/all.profdata"
objects=$(sed 's/^/--object /' "$out/ran")
# shellcheck disable=SC2086
total() { "$bin/llvm-cov" "$@" $objects --instr-profile "$out/all.profdata" --sources crates/evenfit/src; }
total report >"$out/report.txt" 2>"$out/report.err" || { cat "$out/report.err" >&2; exit 1; }
cat "$out/report.txt"
[ "$mode" != --show ] || total show --show-line-counts-or-regions=false 2>/dev/null | grep -E '^ *[0-9]+\| +0\||^/' || true

# Columns of TOTAL: regions, missed, cover, functions, missed, executed, lines, missed, cover, ...
measured=$(awk '/^TOTAL/ { gsub("%", ""); printf "regions %.2f\nlines %.2f\n", $4, $10 }' "$out/report.txt")
if [ "$mode" = --record ]; then
    printf '%s\n' "$measured" >scripts/coverage.txt
    echo "recorded in scripts/coverage.txt:" && cat scripts/coverage.txt
    exit 0
fi
while read -r what least; do
    now=$(awk -v what="$what" '$1 == what { print $2 }' <<<"$measured")
    if awk -v now="$now" -v least="$least" 'BEGIN { exit !(now < least - 0.5) }'; then
        echo "coverage of $what fell from $least % to $now %: test what is new, or say why not and run scripts/coverage.sh --record" >&2
        exit 1
    fi
    echo "$what: $now % (at least $least %)"
done <scripts/coverage.txt
