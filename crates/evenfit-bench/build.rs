//! Compiles o1heap's C core out of the `o1heap` crate's package.
//!
//! Depending on that crate would need libclang for its generated bindings; its C file needs `cc`
//! only. Cargo fetches the package, as it would for a dependency, because
//! `o1heap-source/Cargo.toml` names it.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=o1heap-source/Cargo.toml");
    if env::var_os("CARGO_FEATURE_O1HEAP").is_some() {
        let source = o1heap_package().join("o1heap/o1heap/o1heap.c");
        cc::Build::new()
            .file(&source)
            // As the crate's build script has it: no assertions.
            .define("O1HEAP_ASSERT(x)", "(void)(x)")
            .compile("o1heap");
    }
}

/// Where cargo unpacked the package that `o1heap-source/Cargo.toml` names.
fn o1heap_package() -> PathBuf {
    let cargo = env::var_os("CARGO").expect("cargo runs build scripts with CARGO set");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg("o1heap-source/Cargo.toml")
        .output()
        .expect("cargo could not be run");
    assert!(
        output.status.success(),
        "cargo could not fetch the o1heap package (build with `--no-default-features` to do without it): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let needle = "\"manifest_path\":\"";
    metadata
        .match_indices(needle)
        .map(|(at, _)| &metadata[at + needle.len()..])
        .filter_map(|rest| rest.split('"').next())
        .map(PathBuf::from)
        .filter_map(|manifest| manifest.parent().map(PathBuf::from))
        .find(|dir| dir.join("o1heap/o1heap/o1heap.c").is_file())
        .expect("the o1heap package holds its C source")
}
