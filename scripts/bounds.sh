#!/usr/bin/env bash
# Counts the operation bound in millions of states, and writes the tables in docs/bounds.md:
#   scripts/bounds.sh            all of them: about ten minutes each on x86-64 and on the Cortex-M
#   scripts/bounds.sh x86-64     only these; needs x86-64 Linux
#   scripts/bounds.sh cortex-m   only these; needs what scripts/firmware.sh needs
# Prints the counts and the worst states.
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
