//! `evenfit record`: unmodified programs, their threads and children, and programs that are killed.
//!
//! The C programs need a C compiler, `cc`, as the build does.
#![cfg(target_os = "linux")]

mod common;

use std::process::Command;

use common::{Run, Scratch, command, evenfit, preload, run};
use evenfit_trace::{Event, Trace};

fn record(output: &str, program: &[&str]) -> Run {
    let mut command = command();
    command.args(["record", "-o", output, "--"]).args(program);
    run(command.env("EVENFIT_PRELOAD", preload()))
}

/// A C program, compiled.
fn compiled(scratch: &Scratch, name: &str, source: &str) -> String {
    let (from, to) = (scratch.path(&format!("{name}.c")), scratch.path(name));
    std::fs::write(&from, source).unwrap();
    let status = Command::new("cc")
        .args(["-g", "-O1", "-fno-builtin", "-pthread", "-o", &to, &from])
        .status()
        .unwrap();
    assert!(status.success());
    to
}

fn sizes(trace: &Trace) -> Vec<u64> {
    let sizes = trace.events().iter().filter_map(|event| match *event {
        Event::Alloc { size, .. } => Some(size),
        _ => None,
    });
    sizes.collect()
}

const CALLS: &str = r#"
#include <stdlib.h>
#include <malloc.h>
static void *in_a_function(size_t size) { return malloc(size); }
int main(void) {
    void *a = in_a_function(70001);
    void *b = calloc(3, 70002);
    a = realloc(a, 80003);
    void *c = 0;
    if (posix_memalign(&c, 256, 70004)) return 1;
    void *d = aligned_alloc(64, 70016), *e = memalign(128, 70005), *f = valloc(70006);
    void *g = reallocarray(0, 7, 10001);
    volatile size_t huge = (size_t)-1;
    if (reallocarray(0, huge, 2)) return 2;
    free(a); free(b); free(c); free(d); free(e); free(f); free(g); free(0);
    return 7;
}
"#;

#[test]
fn every_call_is_recorded_with_size_alignment_and_call_site() {
    let scratch = Scratch::new("record-calls");
    let program = compiled(&scratch, "calls", CALLS);
    let output = scratch.path("calls.evt");
    let run = record(&output, &[&program]);
    assert_eq!(run.code, 7, "{}", run.stderr);
    let trace = Trace::open(&output).unwrap();
    assert_eq!(trace.repairs().unknown_frees, 0);
    let wanted: Vec<_> = trace
        .records()
        .filter_map(|record| match record.event {
            Event::Alloc { size, align_log2, zeroed, .. } if size > 70_000 => {
                Some((size, 1u32 << align_log2, zeroed))
            }
            _ => None,
        })
        .collect();
    let expected = [
        (70_001, 16, false),
        (210_006, 16, true),
        (70_004, 256, false),
        (70_016, 64, false),
        (70_005, 128, false),
        (70_006, 4096, false),
        (70_007, 16, false),
    ];
    assert_eq!(wanted, expected);
    assert!(
        trace.events().contains(&Event::Realloc { id: first_id(&trace, 70_001), new_size: 80_003 })
    );
    let site = trace
        .records()
        .find(|record| matches!(record.event, Event::Alloc { size: 70_001, .. }))
        .unwrap()
        .site;
    let site = trace.site(site).expect("named");
    assert!(site.name == "in_a_function" || site.name == "main", "{site:?}");
    assert!(site.location.contains("calls.c:"), "{site:?}");
    assert!(trace.facts().iter().any(|(key, value)| key == "program" && value.contains("calls")));
    assert!(run.stderr.contains("operations"), "{}", run.stderr);
}

fn first_id(trace: &Trace, wanted: u64) -> u32 {
    let found = trace.events().iter().find_map(|event| match *event {
        Event::Alloc { id, size, .. } if size == wanted => Some(id),
        _ => None,
    });
    found.expect("allocated")
}

const THREADS: &str = r#"
#include <pthread.h>
#include <stdlib.h>
static void *work(void *seed) {
    unsigned state = (unsigned)(size_t)seed;
    void *live[64] = {0};
    for (int i = 0; i < 20000; i++) {
        state = state * 1664525u + 1013904223u;
        unsigned at = (state >> 10) % 64;
        if (state >> 31) live[at] = realloc(live[at], 1 + (state >> 16) % 500);
        else { free(live[at]); live[at] = malloc(1 + (state >> 16) % 500); }
    }
    for (int i = 0; i < 64; i++) free(live[i]);
    return 0;
}
int main(void) {
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, (void *)(i + 1));
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    return 0;
}
"#;

#[test]
fn threads_are_recorded_in_one_consistent_order() {
    let scratch = Scratch::new("record-threads");
    let program = compiled(&scratch, "threads", THREADS);
    let output = scratch.path("threads.evt");
    let run = record(&output, &[&program]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let trace = Trace::open(&output).unwrap();
    let repairs = trace.repairs();
    assert_eq!((repairs.unknown_frees, repairs.unknown_reallocs, repairs.assumed_frees), (0, 0, 0));
    let info = trace.info();
    assert!(info.operations > 100_000 && info.threads == 5, "{info:?}");
    // All 256 live slots were freed: what remains is the C library's.
    assert!(info.leaked_blocks < 20, "{info:?}");
    let bytes = std::fs::metadata(&output).unwrap().len();
    assert!(bytes < info.operations * 8, "{bytes} bytes for {} operations", info.operations);
    assert_eq!(evenfit(&["replay", &output, "--pool", "min"]).code, 0);
}

const FORKS: &str = r#"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    void *shared = malloc(90001);
    pid_t child = fork();
    for (int i = 0; i < 3000; i++) free(malloc(child ? 1001 : 2002));
    free(shared);
    if (child) waitpid(child, 0, 0); else _exit(0);
    return 0;
}
"#;

#[test]
fn a_forked_child_has_a_recording_of_its_own() {
    let scratch = Scratch::new("record-forks");
    let program = compiled(&scratch, "forks", FORKS);
    let output = scratch.path("forks.evt");
    assert_eq!(record(&output, &[&program]).code, 0);
    let parent = Trace::open(&output).unwrap();
    let names = scratch.names();
    let child =
        names.iter().find(|name| name.starts_with("forks.forks-")).expect("the child's file");
    let child = Trace::open(scratch.path(child)).unwrap();
    let count = |trace: &Trace, wanted| sizes(trace).iter().filter(|&&size| size == wanted).count();
    assert_eq!((count(&parent, 1001), count(&parent, 2002)), (3000, 0));
    assert_eq!((count(&child, 1001), count(&child, 2002)), (0, 3000));
    assert_eq!((count(&parent, 90_001), count(&child, 90_001)), (1, 0));
    // The child also frees a block of its parent: that is repaired, and is no fault.
    assert!(child.repairs().unknown_frees <= 1);
}

#[test]
fn programs_that_a_shell_starts_are_recorded_too() {
    let scratch = Scratch::new("record-shell");
    let output = scratch.path("shell.evt");
    let run = record(&output, &["sh", "-c", "seq 3000 | sort -rn | head -1"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "3000\n"), "{}", run.stderr);
    let files = scratch.names();
    for name in ["shell.evt", "shell.seq-", "shell.sort-", "shell.head-"] {
        assert!(files.iter().any(|file| file.starts_with(name)), "{name}: {files:?}");
    }
    for file in files {
        Trace::open(scratch.path(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

const KILLED: &str = r#"
#include <signal.h>
#include <stdlib.h>
int main(void) {
    for (int i = 0; i < 100000; i++) { void *p = malloc(100 + i % 900); if (i % 3) free(p); }
    raise(SIGKILL);
    return 0;
}
"#;

#[test]
fn a_killed_program_is_recorded_to_its_end() {
    let scratch = Scratch::new("record-killed");
    let program = compiled(&scratch, "killed", KILLED);
    let output = scratch.path("killed.evt");
    let run = record(&output, &[&program]);
    assert_eq!(run.code, 128 + 9);
    let trace = Trace::open(&output).unwrap();
    assert_eq!(trace.info().allocations, 100_000);
    assert_eq!(trace.info().frees, 66_666);
    assert!(trace.facts().iter().all(|(key, _)| key != "incomplete"));
    assert_eq!(evenfit(&["info", &output]).code, 0);
}

const SLOW: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
    /* More than there is room for while nobody takes it. */
    for (int i = 0; i < 1000000; i++) free(malloc(i % 900));
    puts("ran to its end");
    return 0;
}
"#;

/// The command is killed: the program must neither wait for it nor end.
#[test]
fn a_program_outlives_the_command() {
    let scratch = Scratch::new("record-outlives");
    let program = compiled(&scratch, "slow", SLOW);
    let said = scratch.path("said");
    let script = format!("{program} > {said}; echo $? >> {said}");
    let mut command = command();
    command.args(["record", "-o", &scratch.path("slow.evt"), "--", "sh", "-c"]);
    command.arg(format!("kill -9 $PPID; {script}")).env("EVENFIT_PRELOAD", preload());
    assert_eq!(command.status().unwrap().code(), None);
    for _ in 0..1000 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        if std::fs::read_to_string(&said).is_ok_and(|said| said == "ran to its end\n0\n") {
            return;
        }
    }
    panic!("it waits: {:?}", std::fs::read_to_string(&said));
}

const NAMES: &str = r#"
#include <dlfcn.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    void *(*make)(unsigned long) = (void *(*)(unsigned long))dlsym(library, "make_it");
    free(make(70007));
    dlclose(library);
    return argc - 2;
}
"#;

/// Also of a library that is gone at the end.
#[test]
fn call_sites_in_libraries_have_names() {
    let scratch = Scratch::new("record-names");
    let program = compiled(&scratch, "names", NAMES);
    let (source, library) = (scratch.path("make.c"), scratch.path("libmake.so"));
    let code =
        "#include <stdlib.h>\nvoid *make_it(size_t size) { return (char *)malloc(size) + 0; }\n";
    std::fs::write(&source, code).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O0", "-fno-builtin", "-o", &library, &source]);
    assert!(cc.status().unwrap().success());
    let output = scratch.path("names.evt");
    assert_eq!(record(&output, &[&program, &library]).code, 0);
    let trace = Trace::open(&output).unwrap();
    let is_it = |event: &Event| matches!(event, Event::Alloc { size: 70_007, .. });
    let record = trace.records().find(|record| is_it(&record.event)).expect("recorded");
    let site = trace.site(record.site).expect("named");
    assert_eq!(site.name, "make_it", "{site:?}");
}

#[test]
fn a_recording_is_not_overwritten_unasked() {
    let scratch = Scratch::new("record-force");
    let output = scratch.path("app.evt");
    std::fs::write(&output, "precious").unwrap();
    let refused = record(&output, &["sh", "-c", "echo ran"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains("app.evt is there already"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&output).unwrap(), b"precious");
    let mut command = command();
    command.args(["record", "--force", "-o", &output, "--", "sh", "-c", "echo ran"]);
    let forced = run(command.env("EVENFIT_PRELOAD", preload()));
    assert_eq!((forced.code, forced.stdout.as_str()), (0, "ran\n"), "{}", forced.stderr);
    Trace::open(&output).unwrap();
    assert_eq!(scratch.names(), ["app.evt"]);
}

/// What a link leads to is replaced, and a device is written through: neither the link nor the
/// device is.
#[test]
fn a_recording_goes_where_links_and_devices_lead() {
    let scratch = Scratch::new("record-link");
    let (link, real) = (scratch.path("link.evt"), scratch.path("real.evt"));
    std::fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink("real.evt", &link).unwrap();
    for output in [&*link, "/dev/full", "/dev/null"] {
        let mut command = command();
        command.args(["record", "--force", "-o", output, "--", "sh", "-c", "true"]);
        let recorded = run(command.env("EVENFIT_PRELOAD", preload()));
        let code = if output == "/dev/full" { 2 } else { 0 };
        assert_eq!(recorded.code, code, "{output}: {}", recorded.stderr);
        assert!(!recorded.stderr.contains("panicked"), "{}", recorded.stderr);
    }
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(Trace::open(&real).unwrap().events().len() > 10);
    for device in ["/dev/full", "/dev/null"] {
        let kind = std::fs::metadata(device).unwrap().file_type();
        assert!(std::os::unix::fs::FileTypeExt::is_char_device(&kind), "{device}");
    }
}

/// The true reason, and no guess.
#[test]
fn why_nothing_was_recorded_is_said() {
    let scratch = Scratch::new("record-nothing");
    let output = scratch.path("x.evt");
    let main = "#include <stdlib.h>\nint main(void) { free(malloc(10)); return 0; }\n";
    let own = "#include <stddef.h>\nstatic char pool[100000]; static size_t used;\n\
        void *malloc(size_t n) { void *p = pool + used; used += (n + 15) & ~15ul; return p; }\n\
        void free(void *p) { (void)p; }\n\
        int main(void) { free(malloc(10)); return 0; }\n";
    let idle = "int main(void) { return 0; }\n";
    let dead = "#include <signal.h>\nint main(void) { raise(SIGKILL); return 0; }\n";
    for (name, source, flags, reason) in [
        ("static", main, &["-static"][..], "is statically linked"),
        ("asan", main, &["-fsanitize=address"], "is built with AddressSanitizer"),
        ("own", own, &["-fno-builtin"], "has a malloc of its own"),
        ("idle", idle, &[], "the program allocated nothing"),
        ("dead", dead, &[], "the program allocated nothing before signal 9 killed it"),
    ] {
        let (from, program) = (scratch.path(&format!("{name}.c")), scratch.path(name));
        std::fs::write(&from, source).unwrap();
        let mut cc = Command::new("cc");
        let compiled = cc.args(["-O0", "-o", &program, &from]).args(flags).output().unwrap();
        if !compiled.status.success() {
            eprintln!("skipped: {name} can't be built here");
            continue;
        }
        // A script is judged by its interpreter.
        let script = scratch.path(&format!("{name}.sh"));
        std::fs::write(&script, format!("#!{program}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        for file in [&program, &script] {
            let run = record(&output, &[file]);
            assert_eq!(run.code, 2, "{name}: {}", run.stderr);
            let said = run.stderr.contains("nothing was recorded: ") && run.stderr.contains(reason);
            assert!(said, "{name}: {}", run.stderr);
        }
    }
}

#[test]
fn what_can_not_be_recorded_is_named() {
    let scratch = Scratch::new("record-bad");
    let (output, nowhere) = (scratch.path("x.evt"), scratch.path("no/such/x.evt"));
    let missing = record(&output, &["no-such-program-at-all"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("no-such-program-at-all"), "{}", missing.stderr);
    let unwritable = record(&nowhere, &["true"]);
    assert_eq!(unwritable.code, 2);
    assert!(unwritable.stderr.contains("x.evt"), "{}", unwritable.stderr);
    let mut no_library = command();
    no_library.args(["record", "-o", &output, "--", "true"]).env("EVENFIT_PRELOAD", "/no/such.so");
    let no_library = run(&mut no_library);
    assert_eq!(no_library.code, 2);
    assert!(no_library.stderr.contains("EVENFIT_PRELOAD"), "{}", no_library.stderr);
    assert_eq!(evenfit(&["record", "-o", &output]).code, 2);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
}

/// As redis is linked with jemalloc: the other library's `malloc_usable_size` must not be asked of
/// glibc's blocks.
#[test]
fn a_program_linked_with_another_malloc_is_recorded_on_glibcs() {
    let scratch = Scratch::new("record-other");
    let other = scratch.path("libother.so");
    let source = scratch.path("other.c");
    std::fs::write(
        &source,
        "#include <stdlib.h>\nsize_t malloc_usable_size(void *p) { abort(); }\n",
    )
    .unwrap();
    let library = Command::new("cc").args(["-shared", "-fPIC", "-o", &other, &source]).status();
    assert!(library.unwrap().success());
    let (from, program) = (scratch.path("linked.c"), scratch.path("linked"));
    std::fs::write(
        &from,
        "#include <stdlib.h>\nsize_t malloc_usable_size(void *);\n\
         int main(void) { return malloc_usable_size(malloc(1000)) >= 1000 ? 0 : 1; }\n",
    )
    .unwrap();
    let status = Command::new("cc").args(["-fno-builtin", "-o", &program, &from, &other]).status();
    assert!(status.unwrap().success());
    let trace = scratch.path("linked.evt");
    assert_eq!(record(&trace, &[&program]).code, 0);
    assert!(sizes(&Trace::open(&trace).unwrap()).contains(&1_000));
}
