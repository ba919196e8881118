//! Features `asan` and `valgrind`: the report on a faulty program names the fault's address inside
//! the pool, and a correct program has no report.
//!
//! `sanitizers/program.rs` is built twice by calling the compiler directly, so that nothing else is
//! instrumented or linked. If AddressSanitizer's runtime or Valgrind is missing, the tests say so
//! and pass.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use evenfit_verify::sanitizer::Run;

/// The faults before which the program prints the address that it then accesses.
const FAULTS: [&str; 18] = [
    "block-after-free",
    "slot-after-free",
    "block-after-free-without-size",
    "slot-after-free-without-size",
    "block-overrun",
    "slot-overrun",
    "zeroed-overrun",
    "rounding-of-a-request-of-zero",
    "cut-tail",
    "after-growing",
    "after-moving",
    "after-moving-backwards",
    "never-allocated",
    "after-reset",
    "extension",
    "compact-after-free",
    "static-after-free",
    "locked-after-free",
];

fn rustc(arguments: &[&str]) -> Output {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Command::new(rustc)
        .args(["--edition", "2024", "-Copt-level=1", "-g"])
        .args(arguments)
        // Sanitizers are unstable, but in every toolchain that has their runtime.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"))
        .output()
        .expect("the compiler that built this test runs")
}

/// Builds the library with `feature`, and the program with it. `Err`: the end of the compiler's
/// output.
fn build(feature: &str, flags: &[&str]) -> Result<PathBuf, String> {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(feature);
    std::fs::create_dir_all(&out).expect("a directory for the program");
    let text = |path: PathBuf| path.into_os_string().into_string().expect("a path in UTF-8");
    let library = text(out.join("libevenfit.rlib"));
    let program = out.join("program");
    let cfg = format!("feature=\"{feature}\"");
    let source = text(crate_directory.join("src/lib.rs"));
    let mut arguments =
        vec!["--crate-type", "rlib", "--crate-name", "evenfit", "--cap-lints", "allow"];
    arguments.extend(["--cfg", "feature=\"over-alignment\""]);
    arguments.extend(["--cfg", "feature=\"move-down\""]);
    arguments.extend(["--cfg", &cfg, &source, "-o", &library]);
    arguments.extend(flags);
    let built = rustc(&arguments);
    assert!(
        built.status.success(),
        "the library doesn't build with feature {feature}:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let source = text(crate_directory.join("tests/sanitizers/program.rs"));
    let dependency = format!("evenfit={library}");
    let target = text(program.clone());
    let mut arguments = vec!["--extern", &dependency, &source, "-o", &target];
    arguments.extend(flags);
    let built = rustc(&arguments);
    if built.status.success() {
        Ok(program)
    } else {
        Err(String::from_utf8_lossy(&built.stderr).into_owned())
    }
}

#[test]
fn address_sanitizer_knows_the_pool() {
    let program = match build("asan", &["-Zsanitizer=address"]) {
        Ok(program) => program,
        Err(why) => {
            assert!(why.contains("linking with"), "the program doesn't compile:\n{why}");
            // Not by `eprintln!`, whose output is only shown of tests that fail.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: AddressSanitizer's runtime is missing here:\n{why}"
            );
            return;
        }
    };
    let run = |fault| Run::of(&mut Command::new(&program), fault);
    run("none").assert_silent();
    for fault in FAULTS {
        run(fault).assert_reported(fault, "ERROR: AddressSanitizer: ", "on address 0x");
    }
}

#[test]
fn memcheck_knows_the_pool() {
    let program = build("valgrind", &[]).expect("the program builds");
    // Without Valgrind the requests do nothing.
    Run::of(&mut Command::new(&program), "none").assert_silent();
    if Command::new("valgrind").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: no valgrind here");
        return;
    }
    let memcheck = |flags: &[&str], fault| {
        let mut command = Command::new("valgrind");
        command.args(["-q", "--error-exitcode=9"]).args(flags).arg(&program);
        Run::of(&mut command, fault)
    };
    memcheck(&[], "none").assert_silent();
    for fault in FAULTS {
        memcheck(&[], fault).assert_reported(fault, "Invalid read of size 1", "Address 0x");
    }
    let after_free = memcheck(&[], "static-after-free").report;
    assert!(after_free.contains("99 bytes inside a block of size 100 free'd"), "{after_free}");

    let undefined = memcheck(&[], "undefined");
    assert_eq!(
        undefined.report.matches("depends on uninitialised").count(),
        1,
        "{}",
        undefined.report
    );

    let flags =
        ["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"];
    let leak = memcheck(&flags, "leak");
    assert!(!leak.success);
    for lost in
        ["1,001 bytes in 1 blocks are definitely lost", "100 bytes in 1 blocks are definitely lost"]
    {
        assert!(leak.report.contains(lost), "{lost}\n{}", leak.report);
    }
    assert_eq!(leak.report.matches("definitely lost").count(), 2, "{}", leak.report);
}
