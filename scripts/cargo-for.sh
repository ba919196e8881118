# Sourced by the scripts that build for another target than this machine's.

# cargo_for LIBRARY TARGET...: finds a cargo that can build for the targets. They need LIBRARY,
# `core` or `std`, installed or as sources. Sets the array `cargo` to the command, and the array
# `build_std` to the first arguments of its subcommand. Fails, and sets `missing`, if there is none.
cargo_for() {
    local library=$1 target parts
    shift
    missing=
    for target in "$@"; do
        parts=$(rustc --print sysroot)/lib/rustlib/$target/lib
        [ -n "$(find "$parts" -name "lib$library-*" 2>/dev/null)" ] || missing+="${missing:+ and }$target"
    done
    if [ -z "$missing" ]; then
        cargo=(cargo)
        build_std=()
    elif [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] \
        && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/$library" ]; then
        # The distribution's compiler has the library's sources, but no linker for bare targets.
        local lld
        lld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
        cargo=(env "PATH=/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_THUMBV7EM_NONE_EABI_LINKER="$lld"
            CARGO_TARGET_THUMBV6M_NONE_EABI_LINKER="$lld" CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$lld" /usr/bin/cargo)
        case $library in
        core) build_std=(-Zbuild-std=core,alloc) ;;
        std) build_std=(-Zbuild-std) ;;
        esac
    else
        missing="no $library for $missing, and no sources to build it from (Debian: apt-get install rustc-web cargo-web rust-web-src)"
        return 1
    fi
}
