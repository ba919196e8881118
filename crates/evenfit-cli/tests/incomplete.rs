//! Recordings that say that something is missing: refused where the answer is how large a pool must
//! be, shown with a warning everywhere else.

mod common;

use std::path::Path;

use common::{Scratch, evenfit, root};
use evenfit_trace::Trace;
use serde_json::Value;

/// As ESP-IDF prints it, behind the device's own log.
fn dump(mode: &str, end: &str) -> String {
    let boot: String = (0..1000).map(|i| format!("I ({i}) boot: a line of the log\r\n")).collect();
    format!(
        "{boot}====== Heap Trace: 2 records (2 capacity) ======
    84 bytes (@ 0x3fca1000, Internal) allocated CPU 0 ccount 0x042ac374 caller 0x40376183:0x4037da9c
    12 bytes (@ 0x3fcaa114, Internal) allocated CPU 1 ccount 0x04371de8 caller 0x40376183:0x403761b8
====== Heap Trace Summary ======
Mode: Heap Trace {mode}
records: 2 (2 capacity, 2 high water mark)
total allocations: 2
total frees: 0
{end}================================
"
    )
}

const OVERFLOWED: &str = "(NB: Internal Buffer has overflowed, so trace data is incomplete.)\n";

fn refused(file: &str, page: &str, why: &str) {
    for args in [
        &["size", file][..],
        &["size", "--ci", "traces/csound.evt", file],
        &["replay", file, "--pool", "min"],
        &["replay", file, "--pool", "1MiB"],
        &["compare", file],
        &["report", file, "-o", page],
        &["report", file, "-o", page, "--pool", "min"],
        &["top", file, "--at", "fullest"],
    ] {
        let run = evenfit(args);
        assert_eq!(run.code, 2, "{args:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.is_empty(), "{args:?}: {}", run.stdout);
        for part in ["error:", file, "is incomplete", why, "evenfit info"] {
            assert!(run.stderr.contains(part), "{args:?}, {part}: {}", run.stderr);
        }
        assert!(!Path::new(page).exists());
    }
}

#[test]
fn nothing_says_how_large_a_pool_must_be_for_an_incomplete_recording() {
    let scratch = Scratch::new("incomplete-refused");
    let (log, page) = (scratch.path("dump.log"), scratch.path("page.html"));
    let again = scratch.path("again.evt");
    for (text, why) in [(dump("Leaks", ""), "leaks mode"), (dump("All", OVERFLOWED), "overflowed")]
    {
        std::fs::write(&log, text).unwrap();
        refused(&log, &page, why);
        // Converted, it is as incomplete as before.
        for name in ["as.evt", "as.csv"] {
            let converted = scratch.path(name);
            let run = evenfit(&["convert", &log, &converted, "--force"]);
            assert!(run.code == 0 && run.stderr.contains(why), "{}", run.stderr);
            refused(&converted, &page, why);
            assert_eq!(evenfit(&["convert", &converted, &again, "--force"]).code, 0);
            refused(&again, &page, why);
        }
    }
    std::fs::write(&log, dump("All", "")).unwrap();
    let run = evenfit(&["size", &log]);
    assert!(run.code == 0 && run.stderr.is_empty(), "{}", run.stderr);
}

#[test]
fn an_incomplete_recording_is_shown_with_a_warning() {
    let scratch = Scratch::new("incomplete-shown");
    let log = scratch.path("dump.log");
    std::fs::write(&log, dump("Leaks", "")).unwrap();
    let [page, svg, json] =
        ["page.html", "map.svg", "perfetto.json"].map(|name| scratch.path(name));
    let pool = ["--pool", "64KiB"];
    for args in [
        &["info", &log][..],
        &["info", &log, "--json"],
        &["report", &log, pool[0], pool[1], "-o", &page, "--svg", &svg],
        &["report", &log, pool[0], pool[1], "--json"],
        &["top", &log, pool[0], pool[1], "--at", "fullest"],
        &["convert", &log, &json],
    ] {
        let run = evenfit(args);
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        for part in ["warning:", &log, "is incomplete", "leaks mode", "HEAP_TRACE_ALL"] {
            assert!(run.stderr.contains(part), "{args:?}, {part}: {}", run.stderr);
        }
        if args.contains(&"--json") {
            let answer: Value = serde_json::from_str(&run.stdout).unwrap();
            assert!(answer["incomplete"].as_str().unwrap().contains("leaks mode"), "{answer}");
        } else if args[0] != "convert" {
            let shown = run.stdout.to_lowercase();
            assert!(shown.contains("incomplete"), "{args:?}: {}", run.stdout);
        }
    }
    for (file, part) in [(page, "leaks mode"), (svg, "INCOMPLETE"), (json, "INCOMPLETE")] {
        assert!(std::fs::read_to_string(&file).unwrap().contains(part), "{file}");
    }
    // One that is whole has no such words anywhere.
    std::fs::write(&log, dump("All", "")).unwrap();
    let run = evenfit(&["info", &log, "--json"]);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(answer["incomplete"].is_null() && run.stderr.is_empty(), "{}", run.stderr);
}

#[test]
fn what_was_kept_of_a_recording_that_was_cut_off_stays_incomplete() {
    let scratch = Scratch::new("incomplete-cut");
    let (cut, kept) = (scratch.path("cut.evt"), scratch.path("kept.evt"));
    let whole = std::fs::read(root().join("traces/csound.evt")).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let run = evenfit(&["convert", "--partial", &cut, &kept]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!Trace::open(&kept).unwrap().events().is_empty());
    refused(&kept, &scratch.path("page.html"), "the rest of the recording is lost");
    // What was whole is not made incomplete.
    let same = scratch.path("same.evt");
    let run = evenfit(&["convert", "--partial", "traces/csound.evt", &same]);
    assert!(run.code == 0 && run.stderr.is_empty(), "{}", run.stderr);
    assert_eq!(Trace::open(&same).unwrap().incomplete().count(), 0);
}
