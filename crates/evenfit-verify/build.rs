//! Tells the tests how far they are optimised: the operation bound is published for each level.

fn main() {
    let level = std::env::var("OPT_LEVEL").expect("cargo sets it");
    println!("cargo:rustc-env=EVENFIT_OPT_LEVEL={level}");
    println!("cargo:rerun-if-changed=build.rs");
}
