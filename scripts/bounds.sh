#!/usr/bin/env bash
# Counts the operation bound in millions of states, and writes the tables in docs/bounds.md:
#   scripts/bounds.sh            all of them: on x86-64 some ten minutes, on the emulated Cortex-M as long
#   scripts/bounds.sh x86-64     or only these; needs x86-64 Linux
#   scripts/bounds.sh cortex-m   needs what scripts/firmware.sh needs
# What is counted, and the states that are the worst, are printed.
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in '' | x86-64 | cortex-m) ;; *) sed -n 2,6p "$0" >&2; exit 2 ;; esac

if [ "${1:-x86-64}" = x86-64 ]; then
    for level in 3 s z; do
        EVENFIT_WRITE_BOUNDS=1 CARGO_PROFILE_RELEASE_OPT_LEVEL=$level \
            cargo test --release -p evenfit-verify --no-default-features --features stepping \
            --test operation_bound -- --ignored --nocapture no_operation
    done
fi
if [ "${1:-cortex-m}" = cortex-m ]; then
    scripts/firmware.sh --bounds
fi
