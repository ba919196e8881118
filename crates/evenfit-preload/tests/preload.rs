//! The library, preloaded into a C program that uses the whole family, and into programs of the
//! system.
#![cfg(target_os = "linux")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use evenfit_trace::session::{Host, PAGE_BYTES, RUN_SLOTS, Report, VARIABLE};

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn succeeds(command: &mut Command) -> Output {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} can't be run: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The library as it is released, built once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = scratch("target");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--release", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        build.env("CARGO_TARGET_DIR", &target);
        succeeds(&mut build);
        target.join("release/libevenfit_preload.so")
    })
}

/// A test program, compiled.
fn compiled(name: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let program = scratch(name);
    let mut compile = Command::new("cc");
    compile.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-pthread", "-fno-builtin"]);
    compile.arg(sources.join(format!("{name}.c"))).arg("-o").arg(&program);
    succeeds(compile.arg("-ldl"));
    program
}

/// The test program and its plugin, compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/plugin.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1"]).arg(plugin);
        succeeds(compile.arg("-o").arg(scratch("plugin.so")));
        compiled("family")
    })
}

/// `program` with the library; no summary unless the caller asks for one.
fn preloaded(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env("LD_PRELOAD", library());
    command.env("EVENFIT_POOL", "64MiB").env("EVENFIT_SUMMARY", "none");
    for variable in ["EVENFIT_MISUSE", "EVENFIT_LOCK_MEMORY"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a program and returns its output and the reports of all its processes.
fn watched(command: &mut Command) -> (Output, Vec<Report>) {
    let none = Box::new(|_, _: &[u8]| {});
    let mut host = Host::create(RUN_SLOTS, PAGE_BYTES, none).expect("memory to share");
    let output = command.env(VARIABLE, host.name()).output().expect("it runs");
    (output, host.finish(true).0)
}

/// As `watched`, for one part of the test program.
fn reports_of(part: &str, pool: &str) -> (Output, Vec<Report>) {
    watched(preloaded(program()).arg(part).env("EVENFIT_POOL", pool))
}

#[test]
fn the_whole_family_keeps_its_promises() {
    succeeds(preloaded(program()).arg("family"));
    // Blocks only, as every pool below 1 MiB is.
    let mut small = preloaded(program());
    succeeds(small.arg("family").env("EVENFIT_POOL", "900k"));
}

#[test]
fn threads_share_the_pool_and_children_of_a_fork_can_go_on() {
    succeeds(preloaded(program()).arg("threads"));
}

#[test]
fn a_plugin_loaded_later_allocates_from_the_same_pool() {
    for part in ["plugin", "deepbind"] {
        succeeds(preloaded(program()).arg(part).arg(scratch("plugin.so")));
    }
}

#[test]
fn the_heap_answers_what_programs_ask_about_it() {
    let output = succeeds(preloaded(program()).arg("statistics"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("Arena 0:\nsystem bytes     =   "), "{said}");
}

#[test]
fn memory_is_served_before_main_and_after_exit() {
    let output = succeeds(preloaded(program()).arg("life"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "allocated before main, freed after exit\n");
}

#[test]
fn a_full_pool_gives_null_and_the_summary_says_so() {
    let (output, reports) = reports_of("fill", "4MiB");
    assert!(output.status.success(), "{output:?}");
    let blocks: u64 = String::from_utf8_lossy(&output.stdout)
        .split(' ')
        .next()
        .and_then(|count| count.parse().ok())
        .expect("it says how many");
    assert!((380..420).contains(&blocks), "{blocks} blocks of 10,000 bytes in 4 MiB");
    let [report] = &reports[..] else { panic!("one process: {reports:?}") };
    assert_eq!((report.program.as_str(), report.at_exit), ("family", true));
    let pool = report.pool;
    assert_eq!((pool.failed_requests, pool.smallest_failure_bytes), (1, 10_000));
    let peak = pool.peak_used_bytes;
    assert!(peak > blocks * 10_000 && peak <= pool.pool_bytes);
    assert!(pool.touched_bytes >= peak && pool.pool_bytes + pool.metadata_bytes <= 4 << 20);
    assert!(pool.largest_free_bytes > blocks * 9_000);
}

#[test]
fn in_a_full_pool_blocks_shrink_and_grow_into_what_is_free_before_them() {
    // With slabs, and without.
    for pool in ["4MiB", "900k"] {
        succeeds(preloaded(program()).arg("full").env("EVENFIT_POOL", pool));
    }
}

#[test]
fn memory_that_nobody_uses_is_not_brought_in() {
    succeeds(preloaded(program()).arg("untouched").env("EVENFIT_POOL", "16GiB"));
}

#[test]
fn every_way_to_end_is_reported_once() {
    let (output, reports) = reports_of("_exit", "64MiB");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(reports.len(), 1);
    assert!(reports[0].pool.used_bytes >= 123_456);
    // A child of vfork runs in its parent's memory, and must not report for it.
    let (_, reports) = reports_of("vfork", "64MiB");
    assert_eq!(reports.len(), 1);
    let (_, reports) = reports_of("threads", "64MiB");
    assert_eq!(reports.len(), 61, "60 children and their parent");
}

/// The handler may have interrupted an allocation, with the lock held: the end must not wait for
/// it.
#[test]
fn a_process_that_ends_in_a_signal_handler_ends() {
    for _ in 0..20 {
        let (output, reports) = reports_of("signals", "64MiB");
        assert_eq!(output.status.code(), Some(9));
        assert_eq!(reports.len(), 1);
    }
}

#[test]
fn misuse_is_named_and_stops_the_program_unless_told_not_to() {
    for (part, reason) in [("double", "double free"), ("foreign", "not inside this pool")] {
        let output = preloaded(program()).arg(part).output().expect("it runs");
        assert_eq!(output.status.code(), None, "killed by abort");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("evenfit: free(0x") && said.contains(reason), "{said}");

        let mut command = preloaded(program());
        command.env("EVENFIT_MISUSE", "ignore").env("EVENFIT_SUMMARY", "stderr");
        let output = succeeds(command.arg(part));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "still here\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("pointers refused: 1"), "{said}");
    }
}

#[test]
fn the_summary_for_people_goes_to_standard_error() {
    let mut command = preloaded(program());
    command.env_remove("EVENFIT_SUMMARY");
    let said = succeeds(command.arg("fill")).stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("evenfit: family ("), "{said}");
    assert!(
        said.contains("the pool was full: requests that failed: 1, the smallest for 10000 bytes"),
        "{said}"
    );
}

/// Without a command the summary goes to standard error, and to nothing that came in its place.
#[test]
fn the_summary_goes_nowhere_once_standard_error_is_another_file() {
    let hosts = compiled("hosts");
    let file = scratch("data");
    let alone = |arguments: &[&str]| {
        let mut command = preloaded(&hosts);
        command.args(arguments).arg(&file).env_remove("EVENFIT_SUMMARY").output().expect("it runs")
    };
    assert!(alone(&["stderr"]).status.success());
    assert_eq!(std::fs::read(&file).expect("written"), b"DATA");
    // Nor does what is said of a double free.
    let mut command = preloaded(&hosts);
    let output = command.arg("stderr").arg(&file).arg("twice").output().expect("it runs");
    assert_eq!(output.status.code(), None, "it aborts");
    assert_eq!(std::fs::read(&file).expect("written"), b"DATA");
    // Where nobody reads it, the program doesn't end by SIGPIPE.
    assert!(alone(&["pipe"]).status.success());
}

#[test]
fn wishes_that_make_no_sense_end_the_program_with_their_name() {
    for (name, value, part) in [
        ("EVENFIT_POOL", "abc", "EVENFIT_POOL=abc is no size"),
        ("EVENFIT_POOL", "-5", "EVENFIT_POOL=-5 is no size"),
        ("EVENFIT_POOL", "99999999999999999999", "is no size"),
        ("EVENFIT_POOL", "10", "EVENFIT_POOL: a region of 10 bytes is too small"),
        ("EVENFIT_POOL", "8000000000GiB", "is no size"),
        ("EVENFIT_POOL", "100000GiB", "EVENFIT_POOL: a region of"),
        ("EVENFIT_LOCK_MEMORY", "maybe", "EVENFIT_LOCK_MEMORY=maybe"),
        ("EVENFIT_SUMMARY", "/tmp/x", "EVENFIT_SUMMARY=/tmp/x: say stderr or none"),
        ("EVENFIT_MISUSE", "shrug", "EVENFIT_MISUSE=shrug: say abort or ignore"),
    ] {
        let output = preloaded(program()).env(name, value).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        let mapped_or_not = said.contains(part) || said.contains("can't map a pool");
        assert!(code == Some(2) && mapped_or_not, "{name}={value}: {code:?} {said}");
    }
}

/// Programs of the system say the same with and without the library.
#[test]
fn unmodified_programs_say_the_same() {
    let script = "import json, re, threading
d = {str(i): [i] * (i % 9) for i in range(20000)}
d = json.loads(json.dumps(d))
t = [threading.Thread(target=lambda: sorted(map(str, range(20000)))) for _ in range(4)]
[x.start() for x in t]; [x.join() for x in t]
print(len(d), sum(map(len, d.values())), len(re.findall('[a-f]+', 'abcdefg' * 5000)))";
    let sql = "create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i+1 from n where i<20000) insert into t select i, hex(i*7919) from n;
create index x on t(b); delete from t where a%3=0; select count(*), max(b) from t; pragma integrity_check;";
    let programs: [(&str, &[&str]); 5] = [
        ("/usr/bin/python3", &["-c", script]),
        ("sqlite3", &[":memory:", sql]),
        ("git", &["-C", env!("CARGO_MANIFEST_DIR"), "log", "--stat", "-20"]),
        (
            "sh",
            &[
                "-c",
                "seq 20000 | sort -r | awk '{ s += $1; t = t \"x\" } END { print s, length(t) }'",
            ],
        ),
        ("ls", &["-la", "/usr/bin"]),
    ];
    for (name, arguments) in programs {
        let Ok(plain) = Command::new(name).args(arguments).env("PYTHONMALLOC", "malloc").output()
        else {
            // Not by `eprintln!`, whose output is only shown of tests that fail.
            let _ = writeln!(std::io::stderr(), "skipped: {name} is not installed");
            continue;
        };
        let mut command = preloaded(name);
        let pooled =
            command.args(arguments).env("PYTHONMALLOC", "malloc").env("EVENFIT_POOL", "256MiB");
        let pooled = pooled.output().expect("it ran before");
        assert_eq!(pooled, plain, "{name}");
    }
}
