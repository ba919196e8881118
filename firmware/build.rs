//! Puts the memory map where the linker finds it, and tells the programs what they are built for.

use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::copy("memory.x", out.join("memory.x")).expect("memory.x is copied");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=memory.x");

    // The column of the operation bound in docs/bounds.md.
    let target = env::var("TARGET").expect("cargo sets it");
    let core = if target.starts_with("thumbv6m") { "M0" } else { "M4" };
    let level = env::var("OPT_LEVEL").expect("cargo sets it");
    println!("cargo:rustc-env=EVENFIT_COLUMN={core} at {level}");
}
