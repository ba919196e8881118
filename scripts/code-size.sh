#!/usr/bin/env bash
# Writes the table of docs/size.md: bytes of code and constants of a program that allocates,
# reallocates and frees, less those of the same program with a bump allocator; and its bytes of
# memory beside the pool. `--print` only prints the table.
#
# Needs `core` for Cortex-M4, Cortex-M0 and WebAssembly: the targets installed, or the sources
# (Debian: rustc-web cargo-web rust-web-src), readelf and node. If something is missing, it says
# what, and exits with 77.
set -euo pipefail
shopt -s inherit_errexit
root=$(cd "$(dirname "$0")/.." && pwd)
probe=$root/crates/evenfit/examples/size
# What another compiler than the project's warns of is not the matter here.
export RUSTFLAGS=-Awarnings
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/size
could_not() { echo "could not measure code sizes: $1" && exit 77; }

for tool in readelf node; do command -v $tool >/dev/null || could_not "no $tool"; done
. "$root/scripts/cargo-for.sh"
m4=thumbv7em-none-eabi
m0=thumbv6m-none-eabi
wasm=wasm32-unknown-unknown
cargo_for core $m4 $m0 $wasm || could_not "$missing"
build=("${cargo[@]}" rustc "${build_std[@]}" --quiet --release --manifest-path "$probe/Cargo.toml")

roots=""
for name in probe_start probe_alloc probe_free probe_realloc; do roots+=" -Clink-arg=--undefined=$name"; done

# Code and constants: what is loaded, without tables for unwinding.
elf_bytes() {
    local sum=0 name kind size
    while read -r name kind _ _ size _; do
        case $name/$kind in
            .ARM*/* | .debug*/* | .comment/*) ;;
            */PROGBITS) sum=$((sum + 16#$size)) ;;
        esac
    done < <(readelf -SW "$1" | sed -n 's/^ *\[ *[0-9]*\] *//p')
    echo $sum
}

# Memory that is zero at the start, without the pool. All is aligned to 16 bytes, so that a few are
# padding.
state_bytes() {
    local sum=0 kind size
    while read -r _ kind _ _ size _; do
        [ "$kind" != NOBITS ] || sum=$((sum + 16#$size))
    done < <(readelf -SW "$1" | sed -n 's/^ *\[ *[0-9]*\] *//p')
    echo $((sum % 8192))
}

# Code and data sections.
wasm_bytes() {
    node -e 'const b = require("fs").readFileSync(process.argv[1]); let at = 8, sum = 0;
        const leb = () => { let v = 0, s = 0, c; do { c = b[at++]; v |= (c & 127) << s; s += 7 } while (c & 128); return v };
        while (at < b.length) { const kind = b[at++], length = leb(); if (kind == 10 || kind == 11) sum += length; at += length }
        console.log(sum)' "$1"
}

# The bytes of one allocator at one level of optimisation: Cortex-M4, Cortex-M0, then WebAssembly;
# and its state on a Cortex-M0.
measure() {
    local features=()
    [ "$1" = none ] || features=(--features "$1")
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=$2
    for thumb in $m4 $m0; do
        # shellcheck disable=SC2086
        "${build[@]}" --target $thumb "${features[@]}" --bin probe -- -Clink-arg=--entry=probe_start $roots
        elf_bytes "$CARGO_TARGET_DIR/$thumb/release/probe"
    done
    "${build[@]}" --target $wasm "${features[@]}" --lib --crate-type cdylib
    wasm_bytes "$CARGO_TARGET_DIR/$wasm/release/size_probe.wasm"
    state_bytes "$CARGO_TARGET_DIR/$m0/release/probe"
}

table() {
    echo
    echo "| allocator | Cortex-M4: s | z | 3 | Cortex-M0: s | z | 3 | WebAssembly: s | z | 3 | state |"
    echo "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    local all=over-alignment,move-down
    local rows=("evenfit, Compact:compact,$all" "without \`over-alignment\`:compact,move-down"
        "without \`move-down\`:compact,over-alignment" "without both:compact"
        "evenfit, a \`StaticHeap\` with its lock:static-heap,$all" "without both:static-heap"
        "evenfit, blocks only:blocks-only,$all" "evenfit, with slabs:with-slabs,$all"
        "talc 5.1.1:talc" "rlsf 0.2.3:rlsf")
    local -A bare
    for level in s z 3; do bare[$level]=$(measure none "$level"); done
    for row in "${rows[@]}"; do
        local big="" small="" web="" state
        for level in s z 3; do
            local found=() less=()
            found=$(measure "${row##*:}" "$level")
            mapfile -t found <<<"$found"
            mapfile -t less <<<"${bare[$level]}"
            big+=" $((found[0] - less[0])) |"
            small+=" $((found[1] - less[1])) |"
            web+=" $((found[2] - less[2])) |"
            state=${found[3]}
        done
        echo "| ${row%%:*} |$big$small$web $state |"
    done
    echo
}

if [ "${1:-}" = --print ]; then
    table
else
    table >"$CARGO_TARGET_DIR.table"
    sed -i -e '/^<!-- table: size -->$/r '"$CARGO_TARGET_DIR.table" \
        -e '/^<!-- table: size -->$/,/^<!-- end of table: size -->$/{/^<!--/!d}' "$root/docs/size.md"
fi
