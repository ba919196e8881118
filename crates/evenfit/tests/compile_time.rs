//! What doesn't compile, with a message that names what to write instead.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn rustc() -> Command {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--cap-lints", "allow"]);
    rustc
}

fn out() -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_time");
    std::fs::create_dir_all(&out).expect("a directory for the programs");
    out
}

fn library() -> PathBuf {
    let library = out().join("libevenfit.rlib");
    let built = rustc()
        .args(["--crate-type", "rlib", "--crate-name", "evenfit"])
        .args(["--cfg=feature=\"over-alignment\"", "--cfg=feature=\"move-down\""])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .arg("-o")
        .arg(&library)
        .output()
        .expect("the compiler that built this test runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

/// Builds a program that allocates from a static of this type.
fn build(library: &Path, name: &str, heap: &str) -> Output {
    let source = out().join(format!("{name}.rs"));
    let program = format!(
        "#![allow(unused_imports)]\n\
         use evenfit::*;\n\
         static HEAP: {heap} = StaticHeap::new();\n\
         fn main() {{ let _ = HEAP.allocate(core::alloc::Layout::new::<u64>()); }}\n"
    );
    std::fs::write(&source, program).expect("the program's source");
    rustc()
        .arg("--extern")
        .arg(format!("evenfit={}", library.display()))
        .arg("-o")
        .arg(out().join(name))
        .arg(&source)
        .output()
        .expect("the compiler that built this test runs")
}

#[test]
fn what_can_not_be_is_refused_in_a_sentence() {
    let library = library();
    let refusals = [
        (
            "compact",
            "StaticHeap<{ 1 << 20 }, SpinLock, BlocksOnly, Compact>",
            "write StaticHeap<BYTES, SpinLock, BlocksOnly, Standard>",
        ),
        ("tiny", "StaticHeap<512>", "a StaticHeap needs at least 1024 bytes"),
        (
            "tiny_with_slabs",
            "StaticHeap<4096, SpinLock, WithSlabs, Standard>",
            "a StaticHeap with slabs needs at least 8192 bytes: write BlocksOnly",
        ),
        (
            "no_slabs",
            "StaticHeap<65536, SpinLock, WithSlabs, Compact>",
            "this geometry has no slabs: write Auto or BlocksOnly",
        ),
        #[cfg(target_pointer_width = "64")]
        (
            "unreachable",
            "StaticHeap<{ 3 << 30 }>",
            "beyond what the linker's relocations reach: map memory and hand it to LockedHeap::init_raw",
        ),
    ];
    for (name, heap, sentence) in refusals {
        let built = build(&library, name, heap);
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(!built.status.success(), "{heap} compiles");
        assert!(errors.contains(sentence), "{heap}: {errors}");
    }
    for (name, heap) in [
        ("least", "StaticHeap<1024, SpinLock, BlocksOnly, Standard>"),
        ("most_of_compact", "StaticHeap<{ 511 << 10 }, SpinLock, BlocksOnly, Compact>"),
        ("default", "StaticHeap<{ 1 << 18 }>"),
    ] {
        let built = build(&library, name, heap);
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{heap}: {errors}");
    }
}
