//! `evenfit compare`: seven policies, and evenfit's simulated one against the heap itself.

mod common;

use common::{Scratch, evenfit, plain_trace, random_trace, save};
use evenfit_bound::Cut;
use evenfit_trace::TraceBuilder;
use serde_json::Value;

fn json(args: &[&str]) -> Value {
    let run = evenfit(args);
    assert_eq!(run.stderr, "");
    serde_json::from_str(&run.stdout).unwrap()
}

fn row<'a>(report: &'a Value, policy: &str) -> &'a Value {
    let rows = report["policies"].as_array().unwrap();
    rows.iter().find(|row| row["policy"] == policy).unwrap_or_else(|| panic!("no {policy}"))
}

#[test]
fn the_simulated_evenfit_reaches_just_as_far_as_the_heap() {
    let scratch = Scratch::new("compare-heap");
    let path = scratch.path("plain.evt");
    for seed in 1..4 {
        // Alignments above a granule would fall differently where the map is in front.
        save(&plain_trace(seed, 3000, 100, 1..1501), &path);
        let report = json(&["compare", &path, "--json"]);
        let pool = row(&report, "evenfit")["smallest_pool_bytes"].as_u64().unwrap();
        let region = Cut::STANDARD.region_bytes(pool / 8).unwrap();
        let sized = &json(&["size", &path, "--seeds", "0", "--json"])["programs"][0];
        let pools = sized["pools"].as_array().unwrap();
        let blocks = pools.iter().find(|pool| pool["allocator"] == "blocks");
        assert_eq!(blocks.unwrap()["always_region_bytes"], region, "seed {seed}");
        let smallest = blocks.unwrap()["smallest_region_bytes"].as_u64().unwrap();
        assert!(smallest <= region);
        for bytes in [region, region + 8, region + 200, 2 * region] {
            let pool = bytes.to_string();
            let run = evenfit(&["replay", &path, "--allocator", "blocks", "--pool", &pool]);
            assert_eq!(run.code, 0, "seed {seed}: {bytes}");
        }
    }
}

#[test]
fn every_policy_serves_a_program_and_tells_what_it_cost() {
    let scratch = Scratch::new("compare-all");
    let (path, svg) = (scratch.path("random.evt"), scratch.path("policies.svg"));
    save(&random_trace(3, 5000, 2000), &path);
    let report = json(&["compare", &path, "--pool", "4MiB", "--svg", &svg, "--json"]);
    let policies = report["policies"].as_array().unwrap();
    assert_eq!(policies.len(), 7);
    for policy in policies {
        assert_eq!(policy["served"], true, "{policy}");
        assert!(policy["footprint"].as_f64().unwrap() > 1.0, "{policy}");
        assert!(policy["looked_at_mean"].as_f64().unwrap() >= 1.0, "{policy}");
        let (mean, max) =
            (policy["apart_mean"].as_f64().unwrap(), policy["apart_max"].as_f64().unwrap());
        assert!(0.0 < mean && mean <= max && max < 1.0, "{policy}");
    }
    // What the textbooks say of them.
    assert!(row(&report, "buddy")["rounding_bytes"].as_u64() > Some(0));
    assert_eq!(row(&report, "first fit")["rounding_bytes"], 0);
    assert!(
        row(&report, "first fit")["looked_at_max"].as_u64()
            > row(&report, "evenfit")["looked_at_max"].as_u64()
    );
    let footprint = |policy| row(&report, policy)["footprint"].as_f64().unwrap();
    assert!(
        footprint("evenfit") < footprint("buddy") && footprint("best fit") < footprint("half fit")
    );

    let svg = std::fs::read_to_string(&svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert_eq!(svg.matches("<image").count(), 7);
    assert_eq!(svg.matches("<polyline").count(), 7);
}

#[test]
fn the_table_is_plain_in_a_pipe_and_failures_are_said() {
    let scratch = Scratch::new("compare-text");
    let path = scratch.path("random.evt");
    save(&random_trace(3, 2000, 2000), &path);
    let run = evenfit(&["compare", &path, "--pool", "16KiB"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("fails at operation"), "{}", run.stdout);
    assert!(!run.stdout.contains('\x1b') && run.stderr.is_empty());
    for policy in ["first fit", "best fit", "next fit", "half fit", "buddy", "TLSF", "evenfit"] {
        assert!(run.stdout.contains(policy), "{}", run.stdout);
    }
}

#[test]
fn what_can_not_be_used_is_named() {
    let scratch = Scratch::new("compare-bad");
    let path = scratch.path("huge.evt");
    let mut builder = TraceBuilder::default();
    builder.alloc(1 << 40, 8).unwrap();
    save(&builder.finish(), &path);
    for (args, part) in [
        (&["compare", "no-such.evt"][..], "no-such.evt"),
        (&["compare", &path], "can't be simulated"),
        (&["compare", &path, "--pool", "x"], "16MiB"),
    ] {
        let run = evenfit(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.stdout);
        assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
    }
    let empty = scratch.path("empty.evt");
    save(&TraceBuilder::default().finish(), &empty);
    assert_eq!(evenfit(&["compare", &empty]).code, 0);
}
