//! `evenfit convert`, `info` and `demo`, and what all subcommands have in common.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{Scratch, command, evenfit, random_trace, root, run, save};
use evenfit_trace::{Event, Trace};
use serde_json::Value;

/// Four operations, in a file of a few lines.
const CSV: &str = "\
op,block,size,align
alloc,a,100,
alloc,b,24,16
realloc,a,200,
free,b,,
";

#[test]
fn convert_writes_what_the_recording_says() {
    let scratch = Scratch::new("convert");
    let (input, output) = (scratch.path("small.csv"), scratch.path("small.evt"));
    std::fs::write(&input, CSV).unwrap();
    for level in ["0", "3", "19"] {
        let run = evenfit(&["convert", "--force", &input, &output, "--level", level]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains("4 operations"), "{}", run.stdout);
        let trace = Trace::open(&output).unwrap();
        let expected = [
            Event::Alloc { id: 0, size: 100, align_log2: 3, zeroed: false },
            Event::Alloc { id: 1, size: 24, align_log2: 4, zeroed: false },
            Event::Realloc { id: 0, new_size: 200 },
            Event::Free { id: 1 },
        ];
        assert_eq!(trace.events(), expected);
    }
    assert_eq!(scratch.names(), ["small.csv", "small.evt"]);
    let again = evenfit(&["convert", "--force", &output, &output]);
    assert_eq!(again.code, 0, "a file may be converted onto itself: {}", again.stderr);
    assert_eq!(Trace::open(&output).unwrap().events().len(), 4);
}

#[test]
fn a_conversion_that_fails_leaves_nothing_behind_and_the_old_file_as_it_was() {
    let scratch = Scratch::new("convert-fails");
    let (input, output) = (scratch.path("bad.evt"), scratch.path("out.evt"));
    let whole = std::fs::read(root().join("traces/csound.evt")).unwrap();
    for (bytes, part) in [
        (&whole[..whole.len() / 2], "at byte"),
        (b"garbage".as_slice(), "not a trace"),
        (b"".as_slice(), "at byte 0"),
        (b"op,block\nmend,a\n".as_slice(), "line 2"),
    ] {
        std::fs::write(&input, bytes).unwrap();
        let run = evenfit(&["convert", &input, &output]);
        assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("bad.evt") && run.stderr.contains(part), "{}", run.stderr);
        assert_eq!(scratch.names(), ["bad.evt"]);
    }
    std::fs::write(&output, "precious").unwrap();
    assert_eq!(evenfit(&["convert", &input, &output]).code, 2);
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "precious");

    let nowhere = scratch.path("no/such/directory.evt");
    let run = evenfit(&["convert", "traces/csound.evt", &nowhere]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("can't write") && run.stderr.contains("directory.evt"),
        "{}",
        run.stderr
    );
    assert_eq!(evenfit(&["convert", &input, &output, "--level", "23"]).code, 2);
}

#[test]
fn info_counts_what_the_program_did() {
    let scratch = Scratch::new("info");
    let path = scratch.path("small.csv");
    std::fs::write(&path, CSV).unwrap();
    let answer = evenfit(&["info", &path, "--json"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let info: Value = serde_json::from_str(&answer.stdout).unwrap();
    for (key, count) in [
        ("operations", 4),
        ("allocations", 2),
        ("reallocations", 1),
        ("frees", 1),
        ("peak_live_bytes", 224),
        ("peak_live_blocks", 2),
        ("peak_operation", 3),
        ("never_freed_bytes", 200),
        ("never_freed_blocks", 1),
        ("largest_request_bytes", 200),
    ] {
        assert_eq!(info[key], count, "{key}: {info:#}");
    }
    let bin = |first: u64, last: u64, count: u64| serde_json::json!({"first": first, "last": last, "count": count});
    assert_eq!(info["sizes"], Value::from(vec![bin(16, 31, 1), bin(64, 127, 1), bin(128, 255, 1)]));
    assert_eq!(info["lifetimes"], Value::from(vec![bin(2, 3, 1)]));

    let text = evenfit(&["info", "traces/redis.evt"]).stdout;
    for part in [
        "3,000,000",
        "11,070,794 bytes",
        "221,970 blocks",
        "sizes asked for",
        "lifetimes",
        "redis-server",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_demo_tells_the_story_twice_and_both_refuse_a_double_free() {
    let demo = evenfit(&["demo"]);
    assert_eq!(demo.code, 0, "{}", demo.stderr);
    let text = &demo.stdout;
    assert!(!text.contains('\x1b'), "no colours in a pipe");
    for (part, times) in [
        ("allocate A, 100 bytes", 2),
        ("coalesced with the free blocks on both sides", 4),
        ("refused: AlreadyFree", 4),
        ("refused: NotABlock", 2),
        ("16 of them header", 4),
    ] {
        assert_eq!(text.matches(part).count(), times, "{part}: {text}");
    }
    let maps =
        text.lines().filter(|line| line.contains('·') && !line.contains("free.")).map(str::trim);
    let widths: Vec<usize> = maps.map(|map| map.chars().count()).collect();
    assert_eq!(widths, [64; 22], "two pools and ten steps each, a column for 16 bytes");
    assert!(text.lines().all(|line| line.chars().count() <= 90), "{text}");
}

#[test]
fn colours_are_for_terminals_and_those_who_insist() {
    let forced = run(command().arg("demo").env("CLICOLOR_FORCE", "1"));
    assert!(forced.stdout.contains("\x1b["));
    let refused = run(command().arg("demo").env("NO_COLOR", "1"));
    assert!(!refused.stdout.contains('\x1b'));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = command()
        .args(["info", "traces/csound.evt"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(stderr, "");
}

#[test]
fn each_subcommand_explains_itself_with_an_example() {
    for subcommand in ["replay", "info", "convert", "demo"] {
        let help = evenfit(&[subcommand, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains(&format!("  evenfit {subcommand}")), "{}", help.stdout);
    }
    let help = evenfit(&["--help"]).stdout;
    assert!(help.contains("evenfit replay traces/redis.evt --pool 16MiB"), "{help}");
}

#[test]
fn what_convert_writes_replay_reads() {
    let scratch = Scratch::new("round-trip");
    let (first, second) = (scratch.path("first.evt"), scratch.path("second.evt"));
    let trace = random_trace(3, 3000, 500);
    save(&trace, &first);
    assert_eq!(evenfit(&["convert", &first, &second]).code, 0);
    assert_eq!(Trace::open(&second).unwrap().events(), trace.events());
    let replay = evenfit(&["replay", &second, "--pool", "1M", "--verify"]);
    assert_eq!(replay.code, 0, "{}", replay.stdout);
}

#[test]
fn convert_to_csv_and_back_keeps_every_event() {
    let scratch = Scratch::new("csv");
    let [first, text, second] =
        ["first.evt", "text.csv", "second.evt"].map(|name| scratch.path(name));
    let trace = random_trace(4, 2000, 500);
    save(&trace, &first);
    assert_eq!(evenfit(&["convert", &first, &text]).code, 0);
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("op,block,"));
    assert_eq!(evenfit(&["convert", &text, &second]).code, 0);
    assert_eq!(Trace::open(&second).unwrap().events(), trace.events());
}

#[test]
fn what_a_killed_program_recorded_is_kept_when_asked_for() {
    let scratch = Scratch::new("killed");
    let (cut, kept) = (scratch.path("cut.evt"), scratch.path("kept.evt"));
    let whole = std::fs::read(common::root().join("traces/csound.evt")).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let refused = evenfit(&["convert", &cut, &kept]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--partial"), "{}", refused.stderr);
    assert!(!std::path::Path::new(&kept).exists());
    let run = evenfit(&["convert", "--partial", &cut, &kept]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let place = format!("at byte {}: the file ends here", whole.len() - 1);
    assert!(run.stdout.contains(&place), "{}", run.stdout);
    assert_eq!(Trace::open(&kept).unwrap().events().len(), 141_738);
}

#[test]
fn convert_writes_what_perfetto_shows() {
    let scratch = Scratch::new("convert-perfetto");
    let (input, output) = (scratch.path("random.evt"), scratch.path("random.json"));
    save(&random_trace(4, 2000, 700), &input);
    let run = evenfit(&["convert", &input, &output]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&output).unwrap()).unwrap();
    let events = written["traceEvents"].as_array().unwrap();
    let most = |name: &str, key: &str| {
        let counters = events.iter().filter(|event| event["name"] == name);
        counters.filter_map(|event| event["args"][key].as_u64()).max()
    };
    let info = Trace::open(&input).unwrap().info();
    assert_eq!(most("live bytes", "bytes"), Some(info.peak_live_bytes));
    assert_eq!(most("live blocks", "blocks"), Some(info.peak_live_blocks));
    let phase = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    assert!(phase("b") > 0 && phase("b") == phase("e"));
}
