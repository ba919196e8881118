#!/usr/bin/env bash
# Changes crates/evenfit in every way that cargo-mutants knows, and lists the changes that no test notices:
#   scripts/mutants.sh [MODULE...]       as in: scripts/mutants.sh blocks map; without, all of them (many hours)
# A module is tried by the tests that are about it, first of all the model's. Results: target/mutants/MODULE/mutants.out.
# Needs cargo-mutants (`cargo install cargo-mutants`, six minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-mutants >/dev/null || { echo "cargo-mutants is missing: cargo install --locked cargo-mutants" >&2; exit 2; }
modules=("$@")
[ ${#modules[@]} -gt 0 ] || modules=(bins links map shape geometry budget lock shared locked global hooks error first_fit observe heap blocks slab walk check)

for module in "${modules[@]}"; do
    file=crates/evenfit/src/$module.rs
    [ -f "$file" ] || { echo "no such module: $file" >&2; exit 2; }
    packages=(--test-package evenfit) tests=(--test edges)
    case $module in
        first_fit) tests+=(--test first_fit) ;;
        budget | shape | geometry | lock | shared | locked | global | hooks | error)
            tests+=(--test budget --test shared_heap --test static_heap --test utilisation) ;;
        observe) tests+=(--test observe) ;;
        *)
            packages+=(--test-package evenfit-verify)
            tests+=(--test fuzz_seeds --test exhaustive --test random_operations --test misuse --test late_writes) ;;
    esac
    echo "== $module"
    cargo mutants -p evenfit -f "$file" "${packages[@]}" --timeout 90 -o "target/mutants/$module" -- "${tests[@]}" || true
    cat "target/mutants/$module/mutants.out/missed.txt"
done
