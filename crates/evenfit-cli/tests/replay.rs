//! `evenfit replay`: answers, exit codes, post-mortems.

mod common;

use common::{Scratch, TRACES, evenfit, random_trace, save, shipped};
use evenfit_trace::{Trace, TraceBuilder};
use serde_json::Value;

fn json(args: &[&str]) -> (i32, Value) {
    let run = evenfit(&[args, &["--json"]].concat());
    let value = serde_json::from_str(&run.stdout);
    (run.code, value.unwrap_or_else(|e| panic!("{e}: {}{}", run.stdout, run.stderr)))
}

#[test]
fn each_shipped_trace_runs_verified_in_a_quarter_more_than_its_peak() {
    for name in TRACES {
        let path = shipped(name);
        let peak = Trace::open(common::root().join(&path)).unwrap().info().peak_live_bytes;
        let pool = (peak + peak / 4).to_string();
        let (code, report) =
            json(&["replay", &path, "--pool", &pool, "--verify", "--check-every", "100000"]);
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(report["fits"], true);
        assert_eq!(report["verified"], true);
        assert_eq!(report["peak_live_bytes"], peak);
        assert_eq!(report["operations"], report["operations_done"]);
        assert_eq!(report["operations_per_second"], Value::Null, "checks take time");
    }
}

#[test]
fn the_footprint_of_the_heap_is_at_most_1_10_over_the_shipped_traces() {
    let mut log_sum = 0.0;
    for name in TRACES {
        let (code, report) = json(&["replay", &shipped(name), "--pool", "min"]);
        assert_eq!(code, 0, "{report:#}");
        let found = &report["smallest"];
        let (fits, fails) = (
            found["smallest_region_bytes"].as_f64().unwrap(),
            found["fails_region_bytes"].as_f64().unwrap(),
        );
        assert!(fails < fits && fits - fails <= 8.0, "{name}: {found}");
        let footprint = report["footprint"].as_f64().unwrap();
        println!("{name}: {footprint:.3}");
        log_sum += footprint.ln();
    }
    let mean = (log_sum / TRACES.len() as f64).exp();
    println!("geometric mean: {mean:.3}");
    assert!(mean <= 1.10, "{mean}");
}

#[test]
fn a_random_program_runs_verified_in_each_allocator() {
    let scratch = Scratch::new("each-allocator");
    let path = scratch.path("random.evt");
    save(&random_trace(1, 20_000, 1500), &path);
    for allocator in ["heap", "blocks", "compact", "first-fit"] {
        let args = ["replay", &path, "--pool", "500k", "--allocator", allocator];
        let run = evenfit(&[&args[..], &["--verify", "--check-every", "50"]].concat());
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("every byte of every block verified"), "{}", run.stdout);
        assert!(run.stdout.contains("integrity checked every 50 operations"), "{}", run.stdout);
        assert_eq!(run.stderr, "", "no progress bar where there is no terminal");
    }
}

#[test]
fn the_table_says_all_that_sizes_a_pool() {
    let run = evenfit(&["replay", "traces/csound.evt", "--pool", "64MiB"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for line in [
        "fits",
        "operations",
        "peak live",
        "high-water mark",
        "footprint",
        "fragmentation",
        "largest free block",
        "speed",
    ] {
        assert!(
            run.stdout.lines().any(|it| it.trim_start().starts_with(line)),
            "{line}: {}",
            run.stdout
        );
    }
    assert!(run.stdout.contains("44,320,452 bytes (42.3 MiB)"), "{}", run.stdout);
    assert!(run.stdout.contains("1.514"), "64 MiB / 44,320,452: {}", run.stdout);
    assert!(!run.stdout.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn a_pool_too_small_gives_a_post_mortem_whose_command_finds_one_that_fits() {
    for allocator in ["heap", "first-fit"] {
        let scratch = Scratch::new(&format!("too small {allocator}"));
        let path = scratch.path("a random program.evt");
        save(&random_trace(2, 5000, 3000), &path);
        let args = ["replay", &path, "--pool", "100k", "--allocator", allocator];
        let run = evenfit(&args);
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        for part in [
            " failed: it asked for ",
            "Free in all: ",
            "the largest free block: ",
            "fits                no",
        ] {
            assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
        }
        let command = run.stdout.lines().last().unwrap().trim().strip_prefix("evenfit ").unwrap();
        let script = format!("'{}' {command}", env!("CARGO_BIN_EXE_evenfit"));
        let found = common::run(std::process::Command::new("sh").args(["-c", &script]));
        assert_eq!(found.code, 0, "{script}: {}", found.stderr);
        assert!(found.stdout.contains("smallest pool"), "{}", found.stdout);

        let (code, report) = json(&[&args[..2], &["--pool", "min"], &args[4..]].concat());
        assert_eq!(code, 0);
        let size = |which: &str| report["smallest"][which].to_string();
        let with = |pool: &str| evenfit(&[&args[..3], &[pool], &args[4..]].concat()).code;
        assert_eq!(with(&size("smallest_region_bytes")), 0);
        assert_eq!(with(&size("fails_region_bytes")), 1);
    }
}

/// Blocks of 1,000 bytes fill a pool; every second one is freed; then 2,100 bytes are asked for.
fn comb() -> Trace {
    let mut builder = TraceBuilder::default();
    let ids: Vec<u32> = (0..40).map(|_| builder.alloc(1000, 8).unwrap()).collect();
    ids.iter().step_by(2).for_each(|&id| builder.free(id).unwrap());
    builder.alloc(2100, 8).unwrap();
    builder.finish()
}

#[test]
fn the_post_mortem_names_the_block_between_the_free_parts() {
    let scratch = Scratch::new("comb");
    let path = scratch.path("comb.evt");
    save(&comb(), &path);
    for (allocator, taken) in
        [("heap", 1000), ("blocks", 1000), ("compact", 1000), ("first-fit", 1024)]
    {
        let pool = (42 * taken).to_string();
        let (code, report) = json(&["replay", &path, "--pool", &pool, "--allocator", allocator]);
        assert_eq!(code, 1, "{report:#}");
        let found = &report["post_mortem"];
        assert_eq!(found["operation"], 61);
        assert_eq!(found["requested_bytes"], 2100);
        assert_eq!(found["live_blocks"], 20);
        assert_eq!(found["live_bytes"], 20_000);
        assert_eq!(found["in_the_way_blocks"], 1, "{found:#}");
        assert_eq!(found["in_the_way_bytes"], taken);
        assert!(found["free_bytes"].as_u64().unwrap() >= 20 * taken);
        assert!(found["largest_free_bytes"].as_u64().unwrap() < 2100);
        let window = found["window"].as_array().unwrap();
        let kinds: Vec<&str> = window.iter().map(|piece| piece["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["free", "live", "free"]);
        let block = &window[1];
        assert_eq!(block["requested_bytes"], 1000);
        let (at, age) = (block["allocated_at"].as_u64().unwrap(), block["age"].as_u64().unwrap());
        assert_eq!(at + age, 61);
        assert_eq!(at % 2, 0, "the blocks of even operations were kept");
    }
    let run = evenfit(&["replay", &path, "--pool", "41k"]);
    assert!(run.stdout.contains("The pool was fragmented"), "{}", run.stdout);
    assert!(run.stdout.contains("Without the 1 live block here, 1,000 bytes"), "{}", run.stdout);
    assert!(
        run.stdout.contains("1,000 bytes live: 1,000 asked for at operation"),
        "{}",
        run.stdout
    );
}

#[test]
fn the_post_mortem_tells_slabs_from_blocks() {
    let scratch = Scratch::new("slabs");
    let [full, thinned] = ["full.evt", "thinned.evt"].map(|name| scratch.path(name));
    let fill = || {
        let mut builder = TraceBuilder::default();
        for _ in 0..15_000 {
            builder.alloc(100, 8).unwrap();
        }
        builder
    };
    save(&fill().finish(), &full);
    let mut builder = fill();
    let gone = (0..15_000).filter(|id| id % 19 != 0);
    gone.for_each(|id| builder.free(id).unwrap());
    builder.alloc(50_000, 8).unwrap();
    save(&builder.finish(), &thinned);

    let (_, report) = json(&["replay", &full, "--pool", "min"]);
    let pool = report["region_bytes"].to_string();
    let (code, report) = json(&["replay", &thinned, "--pool", &pool]);
    assert_eq!(code, 1, "{report:#}");
    let found = &report["post_mortem"];
    let count = |key: &str| found[key].as_u64().unwrap();
    assert!(count("free_in_slabs_bytes") > 1_000_000, "{found:#}");
    assert!(count("free_in_slabs_bytes") <= count("free_bytes"), "{found:#}");
    assert!((20..40).contains(&count("in_the_way_blocks")), "one of 19 slots: {found:#}");
    let window = found["window"].as_array().unwrap();
    let shown = window.iter().filter(|piece| piece["kind"] == "slab");
    let shown: Vec<u64> = shown.map(|slab| slab["live_slots"].as_u64().unwrap()).collect();
    assert_eq!(shown.len(), 8, "{found:#}");
    let sum = shown.iter().sum::<u64>() + count("more_in_the_way_blocks");
    assert_eq!(sum, count("in_the_way_blocks"));
    // The groups count all, whatever is shown.
    let groups = found["in_the_way"].as_array().unwrap();
    let of_all = |key: &str| groups.iter().map(|group| group[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(of_all("blocks"), count("in_the_way_blocks"), "{found:#}");
    assert_eq!(of_all("bytes"), count("in_the_way_bytes"), "{found:#}");
    let run = evenfit(&["replay", &thinned, "--pool", &pool]);
    assert!(run.stdout.contains("are in slabs"), "{}", run.stdout);
    assert!(run.stdout.contains("bytes slab: "), "{}", run.stdout);
}

#[test]
fn a_resize_that_fails_says_what_was_resized() {
    let scratch = Scratch::new("resize");
    let path = scratch.path("resize.evt");
    let mut builder = TraceBuilder::default();
    builder.alloc(10, 8).unwrap();
    let id = builder.alloc(100, 8).unwrap();
    builder.realloc(id, 1 << 40).unwrap();
    save(&builder.finish(), &path);
    let (code, report) = json(&["replay", &path, "--pool", "4k"]);
    assert_eq!(code, 1);
    let found = &report["post_mortem"];
    assert_eq!(found["operation"], 3);
    assert_eq!(found["requested_bytes"], 1u64 << 40);
    assert_eq!(found["resized_from"]["bytes"], 100);
    assert_eq!(found["resized_from"]["allocated_at"], 2);
    let run = evenfit(&["replay", &path, "--pool", "4k"]);
    assert!(
        run.stdout.contains("to resize a block of 100 bytes allocated at operation 2"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("The pool was full"), "{}", run.stdout);
}

#[test]
fn an_empty_trace_fits_anywhere() {
    let scratch = Scratch::new("empty");
    let path = scratch.path("empty.evt");
    save(&TraceBuilder::default().finish(), &path);
    for pool in ["64", "min"] {
        let (code, report) = json(&["replay", &path, "--pool", pool, "--verify"]);
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(report["footprint"], Value::Null);
    }
    assert_eq!(evenfit(&["replay", &path, "--pool", "64"]).code, 0);
}

#[test]
fn bad_flags_and_files_exit_2_with_a_sentence() {
    let scratch = Scratch::new("bad");
    let whole = std::fs::read(common::root().join("traces/csound.evt")).unwrap();
    let cut = scratch.path("cut.evt");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let damaged = scratch.path("damaged.evt");
    std::fs::write(&damaged, flipped).unwrap();
    let garbage = scratch.path("garbage.evt");
    std::fs::write(&garbage, "not a trace at all").unwrap();
    let missing = scratch.path("missing.evt");
    let good = "traces/csound.evt";
    let cases: &[(&[&str], &[&str])] = &[
        (&["replay", &cut, "--pool", "1M"], &["can't read", "cut.evt", "at byte", "ends here"]),
        (&["replay", &damaged, "--pool", "1M"], &["damaged.evt", "at byte", "checksum"]),
        (&["replay", &garbage, "--pool", "1M"], &["garbage.evt", "at byte 0", "not a trace"]),
        (&["replay", &missing, "--pool", "1M"], &["missing.evt", "No such file"]),
        (&["replay", "traces", "--pool", "1M"], &["can't read traces", "directory"]),
        (&["replay", good], &["--pool"]),
        (&["replay", good, "--pool", "16Mx"], &["--pool", "16Mx", "sizes read"]),
        (&["replay", good, "--pool", "maximum"], &["--pool", "maximum", "min"]),
        (&["replay", good, "--pool", "1", "--allocator", "best"], &["best", "first-fit"]),
        (&["replay", good, "--pool", "1M", "--check-every", "0"], &["--check-every"]),
        (&["replay", good, "--pool", "8"], &["8 bytes is too small", "at least"]),
        (&["replay", good, "--pool", "1M", "--allocator", "compact"], &["1048576", "at most"]),
        (&["replay", good, "--pool", "4000000TiB"], &["--pool"]),
        (&["replay", good, "--pool", "min", "--allocator", "compact"], &["the compact heap"]),
        (&["info", &garbage], &["garbage.evt", "not a trace"]),
        (&["frobnicate"], &["frobnicate"]),
        (&[], &["Usage"]),
    ];
    for (args, parts) in cases {
        let run = evenfit(args);
        assert_eq!(run.code, 2, "{args:?}: {}{}", run.stdout, run.stderr);
        assert_eq!(run.stdout, "", "{args:?}");
        for part in *parts {
            assert!(run.stderr.contains(part), "{args:?}: no '{part}' in: {}", run.stderr);
        }
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
}
