//! `evenfit run` and `record`: programs that change what they run in, and ways to end.
//!
//! The C programs need a C compiler, `cc`, as the build does.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use common::{Run, Scratch, command, preload, root, run};
use evenfit_trace::{Event, Trace};
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

fn forks() -> &'static str {
    static FORKS: OnceLock<String> = OnceLock::new();
    FORKS.get_or_init(|| compiled("forks"))
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

/// Records a program; its own recording, and the names of all files.
fn recorded(scratch: &Scratch, program: &[&str]) -> (Run, Option<Trace>, Vec<String>) {
    let output = scratch.path("own.evt");
    let mut command = command();
    command.args(["record", "--force", "-o", &output, "--"]).args(program);
    let run = run(command.env("EVENFIT_PRELOAD", preload()));
    (run, Trace::open(&output).ok(), scratch.names())
}

fn allocations(trace: &Trace, wanted: u64) -> usize {
    let is_it = |event: &&Event| matches!(event, Event::Alloc { size, .. } if *size == wanted);
    trace.events().iter().filter(is_it).count()
}

#[test]
fn a_recording_reaches_the_end_whatever_the_program_changes() {
    for (part, code, _) in CHANGES {
        let scratch = Scratch::new(&format!("hosts-record-{part}"));
        let file = file(&scratch, part);
        let (run, trace, names) = recorded(&scratch, &[hosts(), part, &file]);
        if run.code == 77 {
            eprintln!("skipped: {part} needs rights");
            continue;
        }
        assert_eq!(run.code, code, "{part}: {}", run.stderr);
        assert_eq!(run.stdout, if part == "filter" { "done\n" } else { "" }, "{part}");
        expect_own_file(part, &file);
        // What `exec` replaced has a file of its own.
        let replaced = names.iter().filter(|name| name.starts_with("own.hosts-"));
        let replaced = replaced.map(|name| Trace::open(scratch.path(name)).expect("whole"));
        let trace = trace.into_iter().chain(replaced).max_by_key(|trace| trace.events().len());
        let trace = trace.unwrap_or_else(|| panic!("{part}: {names:?} {}", run.stderr));
        let rounds = if part == "descriptors" { 2 } else { 1 };
        assert_eq!(allocations(&trace, 3_000_000), rounds, "{part}");
        assert_eq!(allocations(&trace, 77), 40 * rounds, "{part}");
        assert!(trace.info().frees >= 20_000 * rounds as u64, "{part}");
        assert!(trace.facts().iter().all(|(key, _)| key != "incomplete"), "{part}");
        assert!(names.iter().all(|name| !name.ends_with(".part")), "{names:?}");
    }
}

#[test]
fn parents_and_children_have_recordings_of_their_own() {
    let scratch = Scratch::new("hosts-record-fork");
    let (run, trace, names) = recorded(&scratch, &[hosts(), "fork"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let own = trace.expect("recorded");
    let count =
        |trace: &Trace| [3_000_000, 4_000_000, 5_000_000].map(|size| allocations(trace, size));
    assert_eq!(count(&own), [1, 0, 0]);
    // Also that of which the C library doesn't know.
    let mut children: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("own.hosts-"))
        .map(|name| count(&Trace::open(scratch.path(name)).expect("whole")))
        .collect();
    children.sort();
    assert_eq!(children, [[0, 0, 1], [0, 1, 0]], "{names:?}");
}

/// As jemalloc's issue 443: a library whose `open` allocates.
#[test]
fn a_library_that_wraps_open_and_allocates_in_it_is_recorded() {
    let scratch = Scratch::new("hosts-hook");
    let (source, hook) = (scratch.path("hook.c"), scratch.path("hook.so"));
    std::fs::write(&source, HOOK).expect("written");
    let flags = ["-shared", "-fPIC", "-fno-builtin", "-O1", "-o"];
    let status = Command::new("cc").args(flags).args([&hook, &source, "-ldl"]).status();
    assert!(status.expect("cc runs").success());
    for what in ["run", "record"] {
        let mut command = command();
        command.arg(what).env("EVENFIT_PRELOAD", preload()).env("LD_PRELOAD", &hook);
        if what == "record" {
            command.args(["-o", &scratch.path("hook.evt")]);
        }
        let run = run(command.args(["--", hosts(), "descriptors", &scratch.path("file")]));
        assert_eq!(run.code, 0, "{what}: {}", run.stderr);
    }
    assert!(allocations(&Trace::open(scratch.path("hook.evt")).expect("recorded"), 64) > 0);
}

const HOOK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
static int (*next)(const char *, int, ...);
int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    free(malloc(64));
    if (!next) next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    free(calloc(1, 64));
    return next(path, flags, mode);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    free(malloc(64));
    if (!next) next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return next(clock, now);
}
"#;

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
    let (run, summary) = in_pool(&["timeout", "300", forks(), "2000"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "forked\n"), "{}", run.stderr);
    let children = summary["children"].as_array().expect("a list");
    let forks = children.iter().filter(|child| child["program"] == "forks").count();
    assert!(forks >= 2000 && summary["missed"] == 0, "{forks} of {}", children.len());
}

#[test]
fn forks_beside_such_threads_are_recorded() {
    let scratch = Scratch::new("hosts-record-forks");
    let (run, _, names) = recorded(&scratch, &["timeout", "300", forks(), "1000"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "forked\n"), "{}", run.stderr);
    let forks: Vec<_> = names.iter().filter(|name| name.starts_with("own.forks-")).collect();
    assert!(forks.len() >= 1000, "{} of {}", forks.len(), names.len());
    for name in forks {
        Trace::open(scratch.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A daemon has left its parents, its session, its folder and all descriptors.
#[test]
fn daemons_are_waited_for_unless_asked_not_to() {
    let (run, summary) = in_pool(&[hosts(), "daemon"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let all = summary["children"].as_array().expect("a list");
    let peak = |process: &&Value| process["peak_used_bytes"].as_u64() >= Some(PEAK);
    let daemon = all.iter().find(peak).unwrap_or_else(|| panic!("{summary}"));
    assert_eq!((&daemon["program"], &daemon["ended"]), (&"hosts".into(), &"exit".into()));

    let scratch = Scratch::new("hosts-daemon");
    let (run, _, names) = recorded(&scratch, &[hosts(), "daemon"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let count =
        |name: &String| allocations(&Trace::open(scratch.path(name)).expect("whole"), 3_000_000);
    assert_eq!(names.iter().map(count).sum::<usize>(), 1, "{names:?}");

    let begun = std::time::Instant::now();
    let mut command = command();
    // The shell ends once the other program is there, and has joined the session.
    let script = "sleep 60 >/dev/null 2>&1 & p=$!
        until grep -q sleep /proc/$p/comm && grep -q memfd: /proc/$p/maps; do sleep 0.01; done
        sleep 0.2; echo $p";
    command.args(["run", "--no-wait", "--json", "--", "sh", "-c", script]);
    let run = common::run(command.env("EVENFIT_PRELOAD", preload()));
    assert!(begun.elapsed().as_secs() < 30);
    let summary: Value = serde_json::from_str(&run.stderr).expect("JSON");
    let all = summary["children"].as_array().expect("a list");
    let process: i32 = run.stdout.trim().parse().expect("a number");
    let is_it = |child: &&Value| child["process_id"] == process && child["program"] == "sleep";
    let sleep = all.iter().find(is_it).unwrap_or_else(|| panic!("{summary}"));
    assert_eq!(
        (&summary["process"]["ended"], &sleep["ended"]),
        (&"exit".into(), &"running".into())
    );
    // SAFETY: no memory is involved.
    unsafe { libc::kill(process, libc::SIGKILL) };
}
