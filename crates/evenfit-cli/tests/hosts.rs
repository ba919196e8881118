//! `evenfit run`: programs that change what they run in, and ways to end.
//!
//! The C programs need a C compiler, `cc`, as the build does.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use common::{Run, Scratch, command, preload, root, run};
use serde_json::Value;

/// A program of the library's tests, compiled.
fn compiled(name: &str) -> String {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let from = root().join(format!("crates/evenfit-preload/tests/programs/{name}.c"));
    let flags = ["-std=gnu11", "-O1", "-fno-builtin", "-Wall", "-Wextra", "-pthread", "-o"];
    let status = Command::new("cc").args(flags).arg(&to).arg(&from).status().expect("cc runs");
    assert!(status.success());
    to.to_str().expect("UTF-8").to_owned()
}

fn hosts() -> &'static str {
    static HOSTS: OnceLock<String> = OnceLock::new();
    HOSTS.get_or_init(|| compiled("hosts"))
}

/// Runs a program in a pool of 64 MiB.
fn in_pool(program: &[&str]) -> (Run, Value) {
    let scratch = Scratch::new(&format!("hosts-{}", program.join("-").replace('/', "_")));
    let summary = scratch.path("summary");
    let mut command = command();
    command.args(["run", "--pool", "64MiB", "--json", "--summary", &summary, "--"]).args(program);
    let run = run(command.env("EVENFIT_PRELOAD", preload()));
    let text = std::fs::read_to_string(&summary).expect("a summary");
    (run, serde_json::from_str(&text).expect("JSON"))
}

/// The most that `work` in the program has live at once.
const PEAK: u64 = 3_000_000;

/// Part, exit code, how it ended.
const CHANGES: [(&str, i32, &str); 14] = [
    ("descriptors", 0, "exit"),
    ("stderr", 0, "exit"),
    ("environment", 0, "exit"),
    ("root", 0, "exit"),
    ("user", 0, "exit"),
    ("limits", 0, "exit"),
    ("filter", 0, "exit"),
    ("strict", 0, "killed"),
    ("_exit", 0, "exit"),
    ("exit_group", 0, "killed"),
    ("abort", 128 + 6, "killed"),
    ("kill", 128 + 9, "killed"),
    ("exec", 0, "exec"),
    ("pipe", 0, "exit"),
];

/// What the part gets as its file.
fn file(scratch: &Scratch, part: &str) -> String {
    if part == "root" { "/".to_owned() } else { scratch.path("file") }
}

/// What the part's file holds afterwards: never anything of evenfit's.
fn expect_own_file(part: &str, file: &str) {
    match part {
        "descriptors" => assert_eq!(std::fs::read(file).expect("written"), b"PRECIOUS"),
        "stderr" => assert_eq!(std::fs::read(file).expect("written"), b"DATA"),
        _ => {}
    }
}

#[test]
fn a_pool_is_seen_to_its_end_whatever_the_program_changes() {
    let scratch = Scratch::new("hosts-run");
    for (part, code, ended) in CHANGES {
        let file = file(&scratch, part);
        let (run, summary) = in_pool(&[hosts(), part, &file]);
        if run.code == 77 {
            eprintln!("skipped: {part} needs rights");
            continue;
        }
        assert_eq!((run.code, run.stderr.as_str()), (code, ""), "{part}");
        assert_eq!(run.stdout, if part == "filter" { "done\n" } else { "" }, "{part}");
        expect_own_file(part, &file);
        let all = summary["children"].as_array().expect("a list").iter();
        let own = all.chain([&summary["process"]]).find(|process| process["ended"] == ended);
        let own = own.unwrap_or_else(|| panic!("{part}: {summary}"));
        let peak = own["peak_used_bytes"].as_u64().expect("a number");
        assert!((PEAK..PEAK + 10_000).contains(&peak), "{part}: {summary}");
        assert!(own["footprint_bytes"].as_u64() >= Some(PEAK), "{part}: {summary}");
        // Otherwise the free of the large block may be among the last operations.
        assert!(ended != "exit" || own["used_bytes"].as_u64() < Some(100_000), "{part}: {summary}");
    }
}

/// Also a child that is made without the C library, which no library can see, doesn't count as its
/// parent.
#[test]
fn parents_and_children_have_numbers_of_their_own() {
    let (run, summary) = in_pool(&[hosts(), "fork"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let peak = |process: &Value| process["peak_used_bytes"].as_u64().expect("a number");
    assert!((PEAK..4_000_000).contains(&peak(&summary["process"])), "{summary}");
    let [child] = &summary["children"].as_array().expect("a list")[..] else {
        panic!("one child: {summary}")
    };
    assert!((4_000_000..5_000_000).contains(&peak(child)), "{summary}");
}

/// The C library's locks are held by other threads that allocate, while the process forks.
#[test]
fn forks_beside_threads_that_hold_the_c_librarys_locks_go_on() {
    let (run, summary) = in_pool(&["timeout", "300", &compiled("forks"), "2000"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "forked\n"), "{}", run.stderr);
    let children = summary["children"].as_array().expect("a list");
    let forks = children.iter().filter(|child| child["program"] == "forks").count();
    assert!(forks >= 2000 && summary["missed"] == 0, "{forks} of {}", children.len());
}
