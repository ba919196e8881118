#!/usr/bin/env bash
# The checks to run while working: format, clippy and tests of the packages that were changed.
#   scripts/fast.sh [COMMIT]   since `main` unless said otherwise; what is not committed counts too
# Tests: the unit tests, a few quick ones of the library, and those that were changed themselves.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${1:-main}
if ! git rev-parse --verify --quiet "$base^{commit}" >/dev/null; then
    echo "there is no commit $base: compared with HEAD"
    base=HEAD
fi
changed=$(git diff --name-only "$(git merge-base "$base" HEAD)"; git ls-files --others --exclude-standard)
if [ -z "$changed" ]; then
    echo "nothing differs from $base"
    exit 0
fi

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

step "format"
cargo fmt --check
cargo fmt --check --manifest-path firmware/Cargo.toml

for package in $(sed -n 's|^crates/\([^/]*\)/.*|\1|p' <<<"$changed" | sort -u); do
    [ -f "crates/$package/Cargo.toml" ] || continue
    step "$package: clippy"
    cargo clippy --quiet -p "$package" --all-targets -- -D warnings

    tests=(--lib)
    # A harness of this library would itself run on its malloc.
    [ "$package" != evenfit-preload ] || tests=(--test preload)
    for name in $(sed -n "s|^crates/$package/tests/\([^/]*\)\.rs$|\1|p" <<<"$changed"); do
        [ ! -f "crates/$package/tests/$name.rs" ] || tests+=(--test "$name")
    done
    if [ "$package" = evenfit ]; then
        tests+=(--test structure --test misuse --test check --test malloc --test slabs)
    fi
    step "$package: cargo test ${tests[*]}"
    cargo test --quiet -p "$package" "${tests[@]}"
done

if grep -q '\.md$' <<<"$changed"; then
    step "pages, and the examples in them"
    cargo test --quiet -p evenfit-cli --test pages
    cargo test --quiet -p evenfit --doc
fi

step "done; cargo test runs all tests, .ci/run everything"
