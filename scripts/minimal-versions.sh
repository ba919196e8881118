#!/usr/bin/env bash
# Builds each package that is to be published with the oldest versions of its direct dependencies that its manifest allows.
# Where that fails, a version in that Cargo.toml is too low.
#
# It works on the packages themselves, so that Cargo.lock stays as it is. Dev-dependencies are left out: nobody who depends on
# a package gets them.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/minimal-versions

mkdir -p "$CARGO_TARGET_DIR"
rm -rf "$CARGO_TARGET_DIR/package"
scripts/package.sh --no-verify --allow-dirty 2>"$CARGO_TARGET_DIR/log" || { cat "$CARGO_TARGET_DIR/log" >&2 && exit 1; }
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
for package in "$CARGO_TARGET_DIR"/package/*.crate; do
    tar --extract --gzip --file "$package" --directory "$copy"
done

patches=()
for folder in "$copy"/*; do
    package=$(basename "${folder%-*}")
    patches+=(--config "patch.crates-io.$package.path='$folder'")
    rm -rf "$folder"/{Cargo.lock,examples}
    awk '/^\[/ { left_out = /dev-dependencies|^\[\[example/ } !left_out' "$folder/Cargo.toml" >"$copy/Cargo.toml"
    mv "$copy/Cargo.toml" "$folder"
done

for folder in "$copy"/*; do
    cd "$folder"
    # `nightly` needs that compiler; the option of Cargo only its Cargo.
    features=$(sed -n '/^\[features\]/,/^\[[^f]/ s/^\([a-z0-9_-]*\) = .*/\1/p' Cargo.toml | sed '/^nightly$/d' | paste -sd,)
    RUSTC_BOOTSTRAP=1 cargo update --quiet -Z direct-minimal-versions "${patches[@]}"
    cargo check --quiet --locked "${patches[@]}"
    cargo check --quiet --locked --features "$features" "${patches[@]}"
    echo "$(basename "$folder"): builds with the oldest direct dependencies"
done
