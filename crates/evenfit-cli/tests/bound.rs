//! `evenfit bound`: safe pools, their worst programs, and what is wrong with a contract.

mod common;

use common::{Scratch, evenfit};
use serde_json::Value;

const SENSOR: &str = "crates/evenfit-bound/tests/contracts/sensor.toml";

fn json(args: &[&str]) -> Value {
    let run = evenfit(args);
    assert_eq!(run.stderr, "");
    serde_json::from_str(&run.stdout).unwrap()
}

fn contract(scratch: &Scratch, text: &str) -> String {
    let path = scratch.path("contract.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_worst_program_needs_exactly_the_exact_minimum_in_the_heap() {
    let scratch = Scratch::new("bound-exact");
    let path = contract(&scratch, "[[site]]\nname='a'\nsize=[1, 40]\nmost_live=3\n");
    let witness = scratch.path("worst.evt");
    let report = json(&["bound", &path, "--exhaustive", "--witness", &witness, "--json"]);
    let minimum = report["exhaustive"]["region_bytes"].as_u64().unwrap();
    // The blocks can't all have absorbed a granule: 8 bytes of the pool.
    let safe = report["safe"]["region_bytes"].as_u64().unwrap();
    assert_eq!((report["exhaustive"]["pool_bytes"].as_u64(), safe - minimum), (Some(192), 8));
    assert_eq!(evenfit(&["replay", &witness, "--pool", &minimum.to_string()]).code, 0);
    assert_eq!(evenfit(&["replay", &witness, "--pool", &(minimum - 8).to_string()]).code, 1);
}

#[test]
fn a_large_contract_is_answered_too_and_its_worst_program_runs_in_the_safe_pool() {
    let scratch = Scratch::new("bound-large");
    let text = "geometry='compact'\n[[site]]\nname='a'\nsize=[1, '120']\nmost_live=300\n";
    let path = contract(&scratch, text);
    let witness = scratch.path("worst.evt");
    let report = json(&["bound", &path, "--witness", &witness, "--json"]);
    let safe = report["safe"]["region_bytes"].as_u64().unwrap();
    // All but what blocks may absorb.
    assert!(report["worst_program"]["share_of_safe"].as_f64() > Some(0.96));
    let worst = report["worst_program"]["region_bytes"].as_u64().unwrap();
    let replay = |pool: u64| {
        evenfit(&["replay", &witness, "--allocator", "compact", "--pool", &pool.to_string()]).code
    };
    assert_eq!((replay(safe), replay(worst), replay(worst - 8)), (0, 0, 1));
}

#[test]
fn a_pool_is_judged_and_the_exit_code_says_so() {
    let yes = evenfit(&["bound", SENSOR, "--pool", "1MiB"]);
    assert_eq!(yes.code, 0, "{}", yes.stderr);
    assert!(yes.stdout.contains("safe            yes"), "{}", yes.stdout);
    let no = evenfit(&["bound", SENSOR, "--pool", "16KiB"]);
    assert_eq!(no.code, 1);
    assert!(no.stdout.contains("not proved") && no.stdout.contains("Apart"), "{}", no.stdout);
    let report = json(&["bound", SENSOR, "--json"]);
    let safe = report["safe"]["region_bytes"].as_u64().unwrap();
    assert_eq!(evenfit(&["bound", SENSOR, "--pool", &safe.to_string()]).code, 0);
    assert_eq!(evenfit(&["bound", SENSOR, "--pool", &(safe - 1).to_string()]).code, 1);
    assert!(report["apart_region_bytes"].as_u64().unwrap() < safe / 4);
}

#[test]
fn the_monitor_is_generated_as_committed() {
    let scratch = Scratch::new("bound-rust");
    let path = scratch.path("sensor.rs");
    assert_eq!(evenfit(&["bound", SENSOR, "--rust", &path]).code, 0);
    let generated = std::fs::read_to_string(&path).unwrap();
    assert_eq!(generated, include_str!("../../evenfit-bound/tests/contracts/sensor.rs"));
}

#[test]
fn with_slabs_the_worst_program_runs_in_the_safe_pool_and_needs_what_is_said() {
    let scratch = Scratch::new("bound-slabs");
    let small = "[[site]]\nname='small'\nsize=[8, 128]\nmost_live=10\n";
    let large = "[[site]]\nname='large'\nsize=[1000, 3072]\nmost_live=20\n";
    let path = contract(&scratch, &format!("{small}{large}"));
    let witness = scratch.path("worst.evt");
    let args = ["bound", &path, "--tiers", "slabs", "--witness", &witness];
    let report = json(&[&args[..], &["--json"]].concat());
    let replay = |pool: u64| {
        let pool = pool.to_string();
        let args = ["replay", &witness, "--allocator", "slabs", "--pool", &pool];
        evenfit(&args).code
    };
    let safe = report["safe"]["region_bytes"].as_u64().unwrap();
    let worst = report["worst_program"]["region_bytes"].as_u64().unwrap();
    assert_eq!((replay(safe), replay(worst), replay(worst - 8)), (0, 0, 1));
    assert!(report["worst_program"]["share_of_safe"].as_f64() > Some(0.9), "{report:#}");
    assert!(report["safe"]["most_slabs"].as_u64() > Some(9));
    let text = evenfit(&args);
    assert!(text.stdout.contains("with slabs"), "{}", text.stdout);
    for pool in [safe, safe - 1] {
        let judged = evenfit(&[&args[..4], &["--pool", &pool.to_string()]].concat());
        assert_eq!(judged.code, i32::from(pool < safe), "{}", judged.stdout);
    }
}

#[test]
fn a_worst_program_is_replayed_in_the_geometry_of_its_contract() {
    let scratch = Scratch::new("bound-geometry");
    let sites = "[[site]]\nname='a'\nsize=[600, 2048]\nmost_live=9\n";
    for geometry in ["standard", "aligned", "wide"] {
        let path = contract(&scratch, &format!("geometry='{geometry}'\n{sites}"));
        let witness = scratch.path("worst.evt");
        for tiers in ["blocks", "slabs"] {
            let args = ["bound", &path, "--tiers", tiers, "--witness", &witness, "--json"];
            let report = json(&args);
            assert_eq!(report["geometry"], geometry);
            let worst = report["worst_program"]["region_bytes"].as_u64().unwrap();
            let replay = |pool: u64| {
                let pool = pool.to_string();
                evenfit(&["replay", &witness, "--allocator", tiers, "--pool", &pool]).code
            };
            assert_eq!((replay(worst), replay(worst - 16)), (0, 1), "{geometry}, {tiers}");
        }
    }
}

#[test]
fn what_can_not_be_used_is_named() {
    let scratch = Scratch::new("bound-bad");
    let big = "[[site]]\nname='a'\nsize=[1, 40960]\nmost_live=9\n";
    for (text, more, part) in [
        ("[[site]]\nname='a'\nsize=0\n", &[][..], "most_live"),
        ("nonsense", &[], "line 1"),
        ("[[site]]\nname='a'\nsize='1TiB'\nmost_live=1\n", &[], "4KiB"),
        ("[[site]]\nname='a'\nsize=281474976710656\nmost_live=1099511627776\n", &[], "64 bits"),
        (big, &["--exhaustive"], "pools of up to 256.0 KiB"),
        (
            "[[site]]\nname='a'\nsize=[1, 200]\nmost_live=9\n",
            &["--exhaustive", "--states-max", "1000"],
            "--states-max",
        ),
        (big, &["--pool", "lots"], "16MiB"),
        (big, &["--tiers", "slabs", "--exhaustive"], "--exhaustive"),
        (
            "geometry='compact'\n[[site]]\nname='a'\nsize=9\nmost_live=9\n",
            &["--tiers", "slabs"],
            "no slabs",
        ),
        ("granule=8\n[[site]]\nname='a'\nsize=9\nmost_live=9\n", &[], "write geometry"),
        (
            "[[site]]\nname='a'\nsize='64GiB'\nmost_live=9\n",
            &["--tiers", "slabs", "--witness", "no-such-file.evt"],
            "too large to be run",
        ),
    ] {
        let path = contract(&scratch, text);
        let mut args = vec!["bound", path.as_str()];
        args.extend(more);
        let run = evenfit(&args);
        assert_eq!(run.code, 2, "{text}: {}", run.stdout);
        assert!(run.stderr.contains(part), "{text}: {}", run.stderr);
    }
    let missing = evenfit(&["bound", "no-such.toml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("no-such.toml"), "{}", missing.stderr);
}
