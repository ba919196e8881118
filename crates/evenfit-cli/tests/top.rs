//! `evenfit top` where there is no terminal: one picture as text, and what is wrong.

mod common;

use common::{Scratch, evenfit, random_trace, save};
use evenfit_trace::{Trace, TraceBuilder};
use serde_json::Value;

#[test]
fn one_moment_is_printed_as_text_and_as_json() {
    let scratch = Scratch::new("top");
    let path = scratch.path("random.evt");
    save(&random_trace(2, 3000, 900), &path);
    let info = Trace::open(&path).unwrap().info();
    let text = evenfit(&["top", &path, "--pool", "256KiB", "--at", "fullest"]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    for part in ["pool", "largest holders", "live bytes of", "█", "would succeed", "q quit"] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    assert!(!text.stdout.contains('\x1b'));
    let json = evenfit(&["top", &path, "--pool", "256KiB", "--at", "fullest", "--json"]);
    let now: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(now["live_bytes"], info.peak_live_bytes);
    assert_eq!(now["live_blocks"], info.blocks_at_peak);
    assert_eq!(now["operation"], info.peak_at + 1);
    let holders = now["holders"].as_array().unwrap();
    assert!(holders.windows(2).all(|pair| pair[0]["bytes"].as_u64() >= pair[1]["bytes"].as_u64()));
    let failed = evenfit(&["top", &path, "--pool", "32KiB", "--at", "failure"]);
    assert!(failed.stdout.contains("FAILED"), "{}", failed.stdout);
}

#[test]
fn what_can_not_be_shown_is_named() {
    let scratch = Scratch::new("top-bad");
    let (path, empty) = (scratch.path("random.evt"), scratch.path("empty.evt"));
    save(&random_trace(2, 300, 900), &path);
    save(&TraceBuilder::default().finish(), &empty);
    for (args, part) in [
        (&["top", &path][..], "needs a terminal"),
        (&["top", &path, "--at", "noon"], "noon"),
        (&["top", &path, "--at", "0"], "from 1 to"),
        (&["top", &path, "--at", "9999999"], "from 1 to"),
        (&["top", &path, "--pool", "1MiB", "--at", "failure"], "fits"),
        (&["top", &empty, "--at", "1"], "no operation"),
        (&["top", "no-such.evt", "--at", "1"], "no-such.evt"),
        (&["top", &path, "--at", "1", "--seconds", "0"], "--seconds"),
    ] {
        let run = evenfit(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.stdout);
        assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
    }
}
