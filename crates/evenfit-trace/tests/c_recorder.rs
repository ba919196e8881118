//! The C recorder: its example is compiled, run, and what it sends is read.

use std::path::PathBuf;
use std::process::Command;

use evenfit_trace::Trace;

#[test]
fn what_a_c_program_records_reads_back() {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("c");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("evt_example");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let built = Command::new(compiler)
        .args(["-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
        .args([&program, &source.join("example.c")])
        .status()
        .expect("a C compiler is needed");
    assert!(built.success());
    let run = Command::new(&program).output().unwrap();
    assert!(run.status.success());

    let trace = Trace::read(run.stdout.as_slice()).unwrap();
    assert_eq!(trace.repairs(), Default::default());
    let info = trace.info();
    assert_eq!((info.allocations, info.reallocations, info.frees), (50, 10, 25));
    assert_eq!((info.zeroed, info.threads, info.sites_seen, info.ticks), (25, 3, 1, 490));
    let asked: u64 = (0..50).map(|i| if i % 5 == 0 { 1000 + i } else { 10 * i }).sum();
    assert_eq!(info.peak_live_bytes, asked);
    assert_eq!(
        info.leaked_bytes,
        asked - (0..50).step_by(2).map(|i| if i % 5 == 0 { 1000 + i } else { 10 * i }).sum::<u64>()
    );
    assert_eq!(trace.site(1).unwrap().name, "main");
    assert_eq!(trace.facts(), [("program".to_owned(), "example".to_owned())]);
}
