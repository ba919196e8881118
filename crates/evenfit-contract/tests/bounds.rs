//! The safe pool size against every program there is, on small parameters.

use evenfit_contract::exhaustive::{Exact, Programs, Rule, Step, failing, smallest};
use evenfit_contract::safe::{self, Demand};
use evenfit_contract::{Cut, adversary, robson};

const STATES_MAX: usize = 1_000_000;

fn demand(min: u64, max: u64, slack: u64, most_live: u64) -> Demand {
    Demand {
        min,
        max,
        slack,
        most_live,
    }
}

fn exact(rule: Rule, demands: &[Demand], resizes: bool) -> Exact {
    let programs = Programs {
        demands,
        total: None,
        resizes,
    };
    smallest(rule, &programs, STATES_MAX).expect("small parameters")
}

fn cut(division_log2: u32) -> Cut {
    Cut {
        granule_bytes: 16,
        division_log2,
    }
}

/// Contracts small enough to try every program: (division of the bins, demands, with reallocations in place).
fn grid() -> Vec<(Cut, Vec<Demand>, bool)> {
    let mut grid = Vec::new();
    for division_log2 in [0, 1, 4] {
        for large in 2..=4 {
            for small in 1..large {
                for (few, many) in [(1, 2), (2, 2), (2, 3)] {
                    let demands = vec![demand(small, small, 0, many), demand(large, large, 0, few)];
                    grid.push((cut(division_log2), demands, false));
                }
            }
            grid.push((cut(division_log2), vec![demand(1, large, 0, 3)], true));
            grid.push((cut(division_log2), vec![demand(large, large, 0, 4)], false));
        }
        grid.push((cut(division_log2), vec![demand(1, 3, 0, 4)], false));
        grid.push((
            cut(division_log2),
            vec![demand(1, 1, 0, 3), demand(2, 2, 1, 2)],
            true,
        ));
        grid.push((
            cut(division_log2),
            vec![demand(1, 2, 0, 2), demand(2, 2, 3, 2)],
            false,
        ));
        grid.push((
            cut(division_log2),
            vec![demand(1, 1, 0, 3), demand(5, 5, 0, 2)],
            false,
        ));
        let three = vec![demand(1, 1, 0, 2), demand(2, 2, 0, 1), demand(3, 3, 0, 2)];
        grid.push((cut(division_log2), three, false));
    }
    grid
}

/// What a bound gets wrong on the grid: contracts that some program breaks in a pool of the size it gives.
fn broken(exact: &[u64], bound: impl Fn(Cut, &[Demand]) -> u64) -> usize {
    let grid = grid();
    exact
        .iter()
        .zip(&grid)
        .filter(|(needed, (cut, demands, _))| bound(*cut, demands) < **needed)
        .count()
}

#[test]
fn the_safe_pool_holds_against_every_program_and_a_smaller_formula_would_not() {
    let needed: Vec<u64> = grid()
        .iter()
        .map(|(cut, demands, resizes)| exact(Rule::GoodFit(*cut), demands, *resizes).granules)
        .collect();
    let safe = |cut, demands: &[Demand]| safe::pool(cut, demands).expect("small").granules;
    assert_eq!(broken(&needed, safe), 0);

    // The same with one mistake each: the test would have found them.
    let one_gap_less = |cut, demands: &[Demand]| {
        let safe = safe::pool(cut, demands).expect("small");
        safe.granules - safe.gap
    };
    let search_not_rounded = |cut, demands: &[Demand]| {
        let safe = safe::pool(cut, demands).expect("small");
        let longest = demands
            .iter()
            .map(|d| d.max + d.slack - 1)
            .max()
            .unwrap_or(0);
        safe.granules - safe.gaps * (safe.gap - safe.gap.min(longest))
    };
    let slack_forgotten = |cut, demands: &[Demand]| {
        let plain: Vec<Demand> = demands.iter().map(|d| Demand { slack: 0, ..*d }).collect();
        safe::pool(cut, &plain).expect("small").granules
    };
    let floor = |_, demands: &[Demand]| {
        let live = demands.iter().map(|d| d.max * d.most_live).sum();
        robson::floor(live, demands.iter().map(|d| d.max).max().unwrap_or(1))
    };
    assert!(broken(&needed, one_gap_less) > 0);
    assert!(broken(&needed, search_not_rounded) > 0);
    assert!(broken(&needed, slack_forgotten) > 0);
    assert!(broken(&needed, floor) > 0);

    let tight = grid()
        .iter()
        .zip(&needed)
        .filter(|((cut, demands, _), needed)| safe(*cut, demands) == **needed)
        .count();
    println!("{tight} of {} bounds are exact", needed.len());
    assert!(tight >= 19);
}

#[test]
fn where_sizes_range_freely_the_bound_is_exact_and_the_adversary_finds_it() {
    for (most, count) in [(2, 4), (3, 4), (4, 3), (4, 4)] {
        let demands = [demand(1, most, 0, count)];
        let safe = safe::pool(Cut::STANDARD, &demands).unwrap().granules;
        assert_eq!(safe, most * count + (count - 1) * (most - 1));
        assert_eq!(
            exact(Rule::GoodFit(Cut::STANDARD), &demands, false).granules,
            safe
        );
        assert_eq!(adversary::worst(Cut::STANDARD, &demands).granules, safe);
    }
    // And far beyond what can be searched.
    let demands = [demand(1, 64, 0, 200)];
    let safe = safe::pool(Cut::STANDARD, &demands).unwrap().granules;
    assert_eq!(adversary::worst(Cut::STANDARD, &demands).granules, safe);
}

/// Powers of two up to `largest`, at most `most` granules live.
fn powers(most: u64, largest: u64) -> Vec<Demand> {
    let sizes = (0..)
        .map(|log| 1 << log)
        .take_while(|&size| size <= largest);
    sizes
        .map(|size| demand(size, size, 0, most / size))
        .collect()
}

#[test]
fn no_policy_goes_below_robsons_floor() {
    for (most, largest) in [(4, 2), (6, 2), (8, 2), (4, 4), (8, 4)] {
        let demands = powers(most, largest);
        let programs = Programs {
            demands: &demands,
            total: Some(most),
            resizes: false,
        };
        for rule in [
            Rule::GoodFit(Cut::STANDARD),
            Rule::FirstFit,
            Rule::BestFit,
            Rule::Buddy,
        ] {
            let exact = smallest(rule, &programs, STATES_MAX).unwrap().granules;
            assert!(
                exact >= robson::floor(most, largest),
                "{rule:?}: M {most}, n {largest}: {exact}"
            );
        }
    }
}

#[test]
fn sqlites_use_of_robsons_number_is_unsound() {
    let demands = powers(8, 4);
    let programs = Programs {
        demands: &demands,
        total: Some(8),
        resizes: false,
    };
    let claim = robson::sqlite_claim(8, 4);
    assert_eq!(claim, 13);
    for rule in [Rule::FirstFit, Rule::Buddy] {
        let witness = failing(rule, &programs, claim, STATES_MAX).unwrap();
        assert!(
            witness.is_some(),
            "{rule:?} serves every program from {claim}"
        );
        let needed = smallest(rule, &programs, STATES_MAX).unwrap();
        assert_eq!(needed.granules, 16, "{rule:?}");
    }
}

#[test]
fn o1heaps_sizing_formula_is_unsound() {
    // Ten blocks of 64 bytes, with o1heap's overhead on 64-bit machines of 32 bytes: granules of 32 bytes here.
    let demands = [demand(2, 2, 0, 10)];
    let programs = Programs {
        demands: &demands,
        total: None,
        resizes: false,
    };
    let claim = robson::o1heap_claim(640, 64, 64, 32) / 32;
    let rule = Rule::HalfFit { header: 1 };
    let witness = failing(rule, &programs, claim, STATES_MAX)
        .unwrap()
        .expect("it fails");
    let served = witness
        .iter()
        .filter(|step| matches!(step, Step::Alloc { .. }))
        .count()
        - 1;
    assert_eq!((claim, served), (30, 7));
    assert_eq!(failing(rule, &programs, 40, STATES_MAX).unwrap(), None);
}

#[test]
fn too_many_states_are_refused_not_endured() {
    let demands = [demand(1, 8, 0, 8)];
    let programs = Programs {
        demands: &demands,
        total: None,
        resizes: true,
    };
    let result = smallest(Rule::GoodFit(Cut::STANDARD), &programs, 1000);
    assert_eq!(result.unwrap_err().states, 1000);
}
