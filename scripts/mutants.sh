#!/usr/bin/env bash
# Changes crates/evenfit in every way that cargo-mutants knows; lists changes that no test notices:
#   scripts/mutants.sh [MODULE...] [-- CARGO-MUTANTS-OPTION...]
#   scripts/mutants.sh blocks blocks/map           without modules, all of them: hours on one core
#   scripts/mutants.sh slabs -- --shard 0/10       every tenth change
#   scripts/mutants.sh heap -- -F largest          what is in functions with that name
# Each change is tested by the tests of its module, up to the first that fails. They are rebuilt in
# a few seconds: see the profile `mutants`. Results: target/mutants/MODULE/mutants.out. Needs
# cargo-mutants (`cargo install --locked cargo-mutants`, six minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-mutants >/dev/null || { echo "cargo-mutants is missing: cargo install --locked cargo-mutants" >&2; exit 2; }
modules=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    modules+=("$1")
    shift
done
[ $# -eq 0 ] || shift
# All modules, except those that other programs of the evidence test: locks under loom, sanitizers,
# `opaque`.
[ ${#modules[@]} -gt 0 ] || mapfile -t modules < <(cd crates/evenfit/src && find . -name '*.rs' | sed 's|^./||; s|\.rs$||' \
    | grep -vE '^(lib|opaque|sanitizer|sync)|^shared/lock/' | sort)

for module in "${modules[@]}"; do
    file=crates/evenfit/src/$module.rs
    [ -f "$file" ] || { echo "no such module: $file" >&2; exit 2; }
    packages=(evenfit)
    case $module in
        first_fit) tests=(edges first_fit) ;;
        geometry | tiers | stats | error | misuse | shared | shared/*)
            tests=(edges budget shared_heap static_heap utilisation) ;;
        inspect/observe) tests=(edges observe) ;;
        *)
            packages=(evenfit evenfit-verify)
            tests=(check edges late_writes misuse observe shared_heap slabs utilisation exhaustive fuzz_seeds) ;;
    esac
    echo "== $module"
    mkdir -p "target/mutants/$module"
    # One thread, since a change may make a test allocate without end. The tests are run on the
    # unchanged source here, since cargo-mutants would look for them in the changed package.
    export RUST_TEST_THREADS=1
    # Newer than what a run before this one has left in a shared CARGO_TARGET_DIR.
    touch "$file"
    cargo test --quiet "${packages[@]/#/--package=}" --profile mutants "${tests[@]/#/--test=}"
    (
        ulimit -v 16000000
        cargo mutants -p evenfit -f "$file" "${packages[@]/#/--test-package=}" --profile mutants --timeout 60 \
            --baseline skip --no-shuffle -o "target/mutants/$module" "$@" "${tests[@]/#/--cargo-arg=--test=}"
    ) || {
        # 2: some change was not noticed; 3: some never ended. Anything else, and nothing was tried.
        status=$?
        [ $status = 2 ] || [ $status = 3 ] || exit $status
    }
    cat "target/mutants/$module/mutants.out/missed.txt"
done
