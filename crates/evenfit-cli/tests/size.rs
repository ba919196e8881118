//! `evenfit size`: the smallest pools are the smallest, and two builds are told apart.

mod common;

use common::{Scratch, evenfit, plain_trace, random_trace, save, shipped};
use evenfit_bound::Cut;
use evenfit_bound::policy::{Evenfit, Placement};
use evenfit_trace::{Event, Trace, TraceBuilder};
use serde_json::Value;

fn json(args: &[&str]) -> Value {
    let run = evenfit(args);
    assert_eq!(run.stderr, "");
    serde_json::from_str(&run.stdout).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn a_step_less_than_the_smallest_pool_fails() {
    let scratch = Scratch::new("size-smallest");
    for seed in 0..4 {
        let path = scratch.path("random.evt");
        save(&random_trace(seed, 3000, 900), &path);
        let sized = &json(&["size", &path, "--seeds", "2", "--json"])["programs"][0];
        for pool in sized["pools"].as_array().unwrap() {
            let (kind, bytes) =
                (pool["allocator"].as_str().unwrap(), number(&pool["smallest_region_bytes"]));
            if pool["simulated"] == false {
                let replay = |bytes: u64| {
                    evenfit(&["replay", &path, "--allocator", kind, "--pool", &bytes.to_string()])
                        .code
                };
                assert_eq!((replay(bytes), replay(bytes - 8)), (0, 1), "{kind}, seed {seed}");
            }
        }
    }
}

/// How far the trace reaches in a pool of `granules`, blocks only; `None`: it isn't served.
fn reach(trace: &Trace, granules: u64) -> Option<u64> {
    let cut = Cut::STANDARD;
    let mut pool = Evenfit::new(cut, granules);
    let mut handles = Vec::new();
    let mut reach = 0;
    for event in trace.events() {
        match *event {
            Event::Alloc { size, .. } => {
                handles.push(pool.allocate(cut.granules(size), 1)?);
                reach = reach.max(pool.top());
            }
            Event::Free { id } => pool.free(handles[id as usize]),
            Event::Realloc { .. } => unreachable!("there is none"),
        }
    }
    Some(reach)
}

#[test]
fn the_answer_says_from_where_on_every_pool_serves() {
    let scratch = Scratch::new("size-longer");
    let path = scratch.path("little.evt");
    let region = |granules: u64| Cut::STANDARD.region_bytes(granules).unwrap();
    for seed in 0..40 {
        let trace = plain_trace(seed, 300, 12, 17..57);
        let served: Vec<bool> =
            (0..200).map(|granules| reach(&trace, granules).is_some()).collect();
        save(&trace, &path);
        let sized = &json(&["size", &path, "--seeds", "0", "--json"])["programs"][0];
        let pools = sized["pools"].as_array().unwrap();
        let blocks = pools.iter().find(|pool| pool["allocator"] == "blocks");
        let blocks = blocks.unwrap();
        let (smallest, always) =
            (number(&blocks["smallest_region_bytes"]), number(&blocks["always_region_bytes"]));
        let in_granules = |bytes: u64| (0..).find(|&g| region(g + 1) > bytes).unwrap();
        assert!(served[in_granules(smallest) as usize]);
        assert!(!served[in_granules(smallest - 8) as usize]);
        assert!(smallest <= always);
        let from = in_granules(always) as usize;
        assert!(served[from..].iter().all(|&served| served), "{seed}: {from}");
        assert_eq!(Some(from as u64), reach(&trace, 1 << 40), "{seed}");
    }
}

#[test]
fn a_program_runs_in_the_pool_that_is_safe_for_its_maxima_with_slabs() {
    let scratch = Scratch::new("size-slabs");
    for (seed, sizes) in [(1, 200), (2, 300), (3, 4_000)] {
        let path = scratch.path("random.evt");
        save(&random_trace(seed, 4_000, sizes), &path);
        let sized = &json(&["size", &path, "--seeds", "0", "--json"])["programs"][0];
        let safe = number(&sized["maxima"]["safe_with_slabs_region_bytes"]);
        let peak = number(&sized["peak_live_bytes"]);
        assert!(number(&sized["maxima"]["most_slabs"]) > 10 && safe > peak);
        let pool = safe.to_string();
        let run = evenfit(&["replay", &path, "--allocator", "slabs", "--pool", &pool]);
        assert_eq!(run.code, 0, "{}", run.stdout);
    }
}

#[test]
fn a_recorded_program_is_sized_with_margin_and_bounds() {
    let path = shipped("csound");
    let sized = &json(&["size", &path, "--seeds", "2", "--json"])["programs"][0];
    let smallest = number(&sized["pools"][0]["smallest_region_bytes"]);
    let run = |bytes: u64| evenfit(&["replay", &path, "--pool", &bytes.to_string()]).code;
    assert_eq!((run(smallest), run(smallest - 16)), (0, 1));

    let margins = sized["margins"].as_array().unwrap();
    let spare: Vec<u64> = margins.iter().map(|margin| number(&margin["spare_bytes"])).collect();
    assert!(spare[0] < 64, "the smallest pool has next to nothing to spare: {spare:?}");
    assert!(spare.is_sorted() && spare[6] > smallest / 3, "{spare:?}");

    let larger = &sized["perturbed"][0]["region_bytes"];
    assert!(number(&larger[0]) > smallest + smallest / 12);
    assert_eq!(sized["perturbed"][2]["region_bytes"].as_array().unwrap().len(), 2);

    let maxima = &sized["maxima"];
    assert!(number(&maxima["safe_region_bytes"]) > smallest);
    assert!(number(&maxima["apart_region_bytes"]) < number(&maxima["safe_region_bytes"]));
    assert!(number(&maxima["live_bytes"]) >= number(&sized["peak_live_bytes"]));
    let text = evenfit(&["size", &path, "--seeds", "2"]).stdout;
    for part in ["The smallest pool", "Robson's floor", "safe pool", "10 % larger"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn the_teaching_list_needs_what_its_simulation_says() {
    let scratch = Scratch::new("size-first-fit");
    let path = scratch.path("lists.evt");
    let mut builder = TraceBuilder::default();
    let ids: Vec<u32> = (0..50).map(|n| builder.alloc(16 * (1 + n % 7), 8).unwrap()).collect();
    ids.iter().step_by(2).for_each(|&id| builder.free(id).unwrap());
    for n in 0..20 {
        builder.alloc(16 * (2 + n % 5), 8).unwrap();
    }
    save(&builder.finish(), &path);
    let sized = &json(&["size", &path, "--seeds", "0", "--json"])["programs"][0];
    assert!(sized["perturbed"].as_array().unwrap().len() == 1);
    let pools = sized["pools"].as_array().unwrap();
    let simulated = number(
        &pools.iter().find(|pool| pool["allocator"] == "first-fit").unwrap()["smallest_region_bytes"],
    );
    let run = |bytes: u64| {
        evenfit(&["replay", &path, "--allocator", "first-fit", "--pool", &bytes.to_string()]).code
    };
    // The free list gives away a rest too short for a block, so it may need one such more.
    assert_eq!(run(simulated + 16), 0);
    assert_eq!(run(simulated - 16), 1);
}

#[test]
fn growth_between_two_builds_fails_unless_tolerated() {
    let scratch = Scratch::new("size-ci");
    let paths = [900, 990].map(|size_max| {
        let path = scratch.path(&format!("{size_max}.evt"));
        save(&random_trace(5, 2000, size_max), &path);
        path
    });
    let [base, new] = [&paths[0], &paths[1]];
    assert_eq!(evenfit(&["size", "--ci", base, base]).code, 0);
    let grew = evenfit(&["size", "--ci", base, new]);
    assert_eq!(grew.code, 1, "{}", grew.stdout);
    assert!(grew.stdout.contains("the new build needs a larger pool"), "{}", grew.stdout);
    assert_eq!(evenfit(&["size", "--ci", base, new, "--tolerance", "50"]).code, 0);
    assert_eq!(evenfit(&["size", "--ci", new, base]).code, 0);
    let report = json(&["size", "--ci", base, new, "--json"]);
    assert_eq!(report["grew"], true);
}

#[test]
fn what_can_not_be_used_is_named() {
    for (args, part) in [
        (&["size", "--ci", "a.evt"][..], "BASE.evt NEW.evt"),
        (&["size"], "TRACES"),
        (&["size", "no-such.evt"], "no-such.evt"),
        (&["size", "README.md"], "README.md"),
        (&["size", "a.evt", "--seeds", "x"], "--seeds"),
        (&["size", "--ci", "a.evt", "b.evt", "--tolerance=-1"], "tolerance"),
    ] {
        let run = evenfit(args);
        assert_eq!(run.code, 2, "{args:?}");
        assert!(run.stderr.contains(part), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn a_program_aligned_as_malloc_aligns_is_sized_in_the_geometry_that_is() {
    let scratch = Scratch::new("size-aligned");
    let path = scratch.path("aligned.evt");
    let mut builder = TraceBuilder::default();
    for n in 0..400 {
        let id = builder.alloc(24 + n % 100, 16).unwrap();
        if n % 3 == 0 {
            builder.free(id).unwrap();
        }
    }
    save(&builder.finish(), &path);
    let sized = &json(&["size", &path, "--seeds", "0", "--json"])["programs"][0];
    let maxima = &sized["maxima"];
    assert!(number(&maxima["most_slabs"]) > 5, "{maxima}");
    assert!(number(&maxima["live_bytes"]).is_multiple_of(16));
    let heap = &sized["pools"][0];
    let always = number(&heap["always_region_bytes"]);
    assert!(number(&heap["smallest_region_bytes"]) <= always);
    let run = |pool: u64| evenfit(&["replay", &path, "--pool", &pool.to_string()]).code;
    assert_eq!((run(always), run(always + 1_000)), (0, 0));
}

#[test]
fn a_program_that_allocates_nothing_is_sized_too() {
    let scratch = Scratch::new("size-empty");
    let path = scratch.path("empty.evt");
    save(&TraceBuilder::default().finish(), &path);
    let run = evenfit(&["size", &path]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}
