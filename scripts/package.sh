#!/usr/bin/env bash
# Packages what is to be published, and builds each package from its .crate alone.
#   scripts/package.sh [OPTION]...   options are those of `cargo package`, such as --allow-dirty
# The .crate files are then in package/ of the target directory. Packages with `publish = false` are
# left out.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
for manifest in crates/*/Cargo.toml; do
    grep -q '^publish = false' "$manifest" || packages+=("$(basename "$(dirname "$manifest")")")
done

for package in "${packages[@]}"; do
    files=$(cargo package --quiet --list -p "$package" "$@")
    for needed in README.md LICENSE-APACHE LICENSE-MIT; do
        grep -qx "$needed" <<<"$files" || { echo "$package: $needed is not in the package" >&2 && exit 1; }
    done
done
cargo package --locked "${packages[@]/#/-p}" "$@"
