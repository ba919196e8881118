//! Features `asan` and `valgrind` of the C library: a faulty C program's report names the fault's
//! address inside the pool, and a right program's is empty.
//!
//! The library is installed with the feature as a user would, and `sanitizers/program.c` linked
//! with it. Where AddressSanitizer's runtime or Valgrind is missing, the tests say so and pass.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evenfit_verify::sanitizer::Run;

/// The faults at which the program prints an address that is then touched.
const FAULTS: [&str; 8] = [
    "slot-after-free",
    "block-after-free",
    "block-after-sized-free",
    "slot-overrun",
    "block-overrun",
    "after-moving",
    "after-reset",
    "never-allocated",
];

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"))
}

fn succeeds(command: &mut Command) {
    let output = output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}");
}

fn is_here(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        // Not by `eprintln!`, whose output is only shown of tests that fail.
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not installed");
    }
    found
}

/// A directory for what is built with `feature`.
fn scratch(feature: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sanitizer-{feature}"))
}

/// Installs the library with `feature` and compiles the program against it.
fn build(feature: &str, flags: &[&str]) -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let prefix = scratch(feature).join("prefix");
    let mut install = Command::new(crate_directory.join("install.sh"));
    install
        .arg(&prefix)
        .env("CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", scratch(feature).join("target"))
        .env("FEATURES", feature);
    succeeds(&mut install);
    let program = scratch(feature).join("program");
    let mut compile = Command::new("gcc");
    compile
        .args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"])
        .args(flags)
        .arg("-I")
        .arg(prefix.join("include"))
        .arg(crate_directory.join("tests/sanitizers/program.c"))
        .arg(prefix.join("lib/libevenfit.a"))
        .arg("-o")
        .arg(&program);
    succeeds(&mut compile);
    program
}

/// Whether gcc has AddressSanitizer's runtime.
fn has_address_sanitizer() -> bool {
    std::fs::create_dir_all(scratch("asan")).expect("a directory for the program");
    let source = scratch("asan").join("empty.c");
    std::fs::write(&source, "int main(void) { return 0; }").expect("scratch can be written");
    let mut compile = Command::new("gcc");
    compile.arg("-fsanitize=address").arg(&source);
    let built = output(compile.arg("-o").arg(scratch("asan").join("empty")));
    if !built.status.success() {
        let _ = writeln!(std::io::stderr(), "skipped: gcc has no AddressSanitizer here");
    }
    built.status.success()
}

#[test]
fn address_sanitizer_knows_the_pool_of_a_c_program() {
    if !is_here("gcc") || !has_address_sanitizer() {
        return;
    }
    let program = build("asan", &["-fsanitize=address"]);
    let run = |fault| Run::of(&mut Command::new(&program), fault);
    run("none").assert_silent();
    for fault in FAULTS {
        run(fault).assert_reported(fault, "ERROR: AddressSanitizer: ", "on address 0x");
    }
}

#[test]
fn memcheck_knows_the_pool_of_a_c_program() {
    if !is_here("gcc") {
        return;
    }
    let program = build("valgrind", &[]);
    // Without Valgrind the requests do nothing.
    Run::of(&mut Command::new(&program), "none").assert_silent();
    if !is_here("valgrind") {
        return;
    }
    let memcheck = |flags: &[&str], fault| {
        let mut command = Command::new("valgrind");
        command.args(["-q", "--error-exitcode=9"]);
        Run::of(command.args(flags).arg(&program), fault)
    };
    memcheck(&[], "none").assert_silent();
    for fault in FAULTS {
        memcheck(&[], fault).assert_reported(fault, "Invalid read of size 1", "Address 0x");
    }
    let leak = memcheck(
        &["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"],
        "leak",
    );
    assert!(!leak.success);
    for lost in
        ["1,001 bytes in 1 blocks are definitely lost", "100 bytes in 1 blocks are definitely lost"]
    {
        assert!(leak.report.contains(lost), "{lost}\n{}", leak.report);
    }
}
