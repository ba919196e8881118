//! The safe pool against every possible program, with small parameters.

use evenfit_bound::exhaustive::{Exact, Programs, Rule, Step, failing, smallest};
use evenfit_bound::safe::{self, Demand, Safe};
use evenfit_bound::{Cut, adversary, robson};

const STATES_MAX: usize = 1_000_000;

fn demand(min: u64, max: u64, slack: u64, most_live: u64) -> Demand {
    Demand { min, max, slack, most_live }
}

/// Short and few bins, so that tiny pools have both short and long blocks.
fn cut(short_end: u64, division_log2: u32) -> Cut {
    Cut { short_end, division_log2, ..Cut::STANDARD }
}

struct Case {
    cut: Cut,
    demands: Vec<Demand>,
    resizes: bool,
}

impl Case {
    fn safe(&self) -> Safe {
        safe::pool(self.cut, &self.demands).expect("small")
    }

    fn programs(&self) -> Programs<'_> {
        Programs { demands: &self.demands, total: None, resizes: self.resizes }
    }

    /// A program that fails in a pool of `granules` granules.
    fn failing(&self, granules: u64) -> Option<Vec<Step>> {
        let rule = Rule::Evenfit(self.cut);
        failing(rule, &self.programs(), granules, STATES_MAX).expect("small parameters")
    }

    fn exact(&self) -> Exact {
        smallest(Rule::Evenfit(self.cut), &self.programs(), STATES_MAX).expect("small parameters")
    }

    /// The shortest pool such that in it, and in every longer one up to a little beyond the safe
    /// one, no program fails.
    fn needed(&self) -> u64 {
        let step = self.cut.align_granules;
        let mut granules = self.safe().granules + 3 * step;
        while self.failing(granules - step).is_none() {
            granules -= step;
        }
        granules
    }
}

fn grid() -> Vec<Case> {
    let mut grid = Vec::new();
    let mut add = |cut, resizes, demands: &[Demand]| {
        grid.push(Case { cut, demands: demands.to_vec(), resizes });
    };
    for cut in [cut(4, 0), cut(4, 1), cut(8, 2)] {
        for large in 3..=7 {
            for small in 2..large {
                for few in [1, 2] {
                    let demands = [demand(small, small, 0, 2), demand(large, large, 0, few)];
                    add(cut, false, &demands);
                }
            }
            add(cut, true, &[demand(2, large, 0, 2)]);
        }
        for large in 3..=5 {
            add(cut, large < 5, &[demand(2, large, 0, 3)]);
            add(cut, false, &[demand(3, large, 0, 3)]);
        }
        for slack in [3, 5] {
            add(cut, true, &[demand(2, 3, 0, 1), demand(3, 3, slack, 1)]);
            add(cut, false, &[demand(2, 2, 0, 2), demand(3, 3, slack, 2)]);
            add(cut, false, &[demand(3, 3, 0, 2), demand(2, 2, slack, 2)]);
            add(cut, false, &[demand(2, 3, 0, 2), demand(2, 2, slack, 1)]);
        }
        add(cut, false, &[demand(2, 3, 0, 4)]);
        let three = [demand(2, 2, 0, 1), demand(3, 3, 0, 1), demand(5, 5, 0, 2)];
        add(cut, false, &three);
        // Every block at a multiple of two granules.
        let aligned = Cut { align_granules: 2, ..cut };
        for large in [4, 6, 8, 10] {
            let demands = [demand(2, 2, 0, 2), demand(large, large, 0, 2)];
            add(aligned, false, &demands);
        }
        let over_aligned = [demand(2, 2, 0, 2), demand(4, 4, 5, 1)];
        add(aligned, false, &over_aligned);
    }
    grid
}

type Formula = fn(&Case) -> u64;

/// Bounds with one mistake each.
const WRONG: [(&str, Formula); 7] = [
    ("the absorbed granule forgotten", |case| {
        let safe = case.safe();
        safe.granules - safe.gaps * safe.absorbed
    }),
    ("the rest forgotten: a gap fewer", |case| {
        let safe = case.safe();
        safe.granules - safe.gap.min(safe.gaps * safe.gap)
    }),
    ("the search taken as exact", |case| {
        let safe = case.safe();
        safe.granules - safe.gaps.saturating_sub(1) * (safe.gap - safe.head_gap)
    }),
    ("two of the own bin looked at, not its first only", |case| {
        let safe = case.safe();
        let more = u64::from(safe.gaps > 1);
        safe.granules - more * (safe.gap - safe.head_gap)
    }),
    ("half a granule absorbed: every other block", |case| {
        let safe = case.safe();
        safe.granules - safe.gaps.div_ceil(2) * safe.absorbed
    }),
    ("the slack of an alignment forgotten", |case| {
        let plain = case.demands.iter().map(|d| Demand { slack: 0, ..*d });
        let demands: Vec<Demand> = plain.collect();
        safe::pool(case.cut, &demands).expect("small").granules
    }),
    ("Robson's floor taken as enough", |case| {
        let live = case.demands.iter().map(|d| d.max * d.most_live).sum();
        robson::floor(live, case.demands.iter().map(|d| d.max).max().unwrap_or(1))
    }),
];

#[test]
fn the_safe_pool_holds_against_every_program_and_a_smaller_formula_would_not() {
    let grid = grid();
    let needed: Vec<u64> = grid.iter().map(Case::needed).collect();
    let mut near = [0; 3];
    for (case, &needed) in grid.iter().zip(&needed) {
        let safe = case.safe().granules;
        let demands = &case.demands;
        assert!(needed <= safe, "{demands:?}: {needed} of {safe}");
        // The search that begins where no program reaches finds the same.
        assert_eq!(case.exact().granules, needed, "{demands:?}");
        if demands.iter().all(|demand| demand.slack == 0) && case.safe().gaps > 0 {
            // The blocks can't all have absorbed a granule at once.
            assert!(needed + case.safe().absorbed <= safe, "{demands:?}");
        }
        if let Some(near) = near.get_mut((safe - needed) as usize) {
            *near += 1;
        }
    }
    println!("{} contracts; 0, 1, 2 granules above what is needed: {near:?}", grid.len());
    assert!(near.iter().sum::<usize>() >= 39);
    for (name, formula) in WRONG {
        let refuting =
            grid.iter().zip(&needed).filter(|&(case, &needed)| formula(case) < needed).count();
        println!("{name}: refuted by {refuting}");
        assert!(refuting > 0, "{name}: not refuted");
    }
}

/// The counter-examples of `docs/bounds.md`: blocks of up to `max` granules in bins of `short_end`
/// and `division_log2`, and a program that fails in a pool of the wrong formula's length. `a n`: a
/// new block of n granules; `f i`: the i-th block, from 0, is freed.
#[test]
fn the_counter_examples_fail_in_the_pools_that_wrong_formulas_give() {
    for (name, cut, demands, pool, program) in [
        (
            "the absorbed granule forgotten",
            cut(4, 1),
            demand(2, 3, 0, 3),
            13,
            "a3 a3 a2 f0 f1 a2 a3 f3 a3 f2 a3",
        ),
        ("a gap forgotten", cut(4, 1), demand(2, 4, 0, 2), 9, "a2 a4 f0 a4"),
        (
            "the search taken as exact",
            cut(4, 0),
            demand(2, 5, 0, 3),
            25,
            "a2 a5 a4 f0 a5 f2 a5 f3 a5 f1 a3 f6 a5",
        ),
    ] {
        let case = Case { cut, demands: vec![demands], resizes: false };
        let steps = case.failing(pool).expect("it fails");
        let written: Vec<String> = steps
            .iter()
            .map(|step| match step {
                Step::Alloc { granules, .. } => format!("a{granules}"),
                Step::Free { block } => format!("f{block}"),
                Step::Resize { .. } => unreachable!("the contract has no reallocation"),
            })
            .collect();
        assert!(pool < case.safe().granules);
        assert_eq!(written.join(" "), program, "{name}");
    }
}

#[test]
fn a_granule_alone_before_an_aligned_block_costs_the_alignment_once_more() {
    // A block of 3, then one of 2 at a multiple of 4: granule 3 can't be left alone, so it begins
    // at 8.
    let case = Case {
        cut: Cut::STANDARD,
        demands: vec![demand(3, 3, 0, 1), demand(2, 2, Cut::STANDARD.slack(32), 1)],
        resizes: false,
    };
    assert!(case.failing(9).is_some());
    assert!(case.failing(10).is_none());
}

/// All pools from the shortest that serves all programs up to the safe one serve all programs. This
/// isn't proved: it holds for all that could be searched, since the top is tried last.
#[test]
fn a_longer_pool_serves_what_a_shorter_one_does() {
    let case = |slacks: [u64; 2], large, counts: [u64; 2]| Case {
        cut: cut(8, 2),
        demands: vec![
            demand(2, 2, slacks[0], counts[0]),
            demand(large, large, slacks[1], counts[1]),
        ],
        resizes: false,
    };
    for slacks in [[0, 3], [3, 0], [3, 3]] {
        for counts in [[1, 2], [2, 1], [2, 2]] {
            for large in 3..=5 {
                let case = case(slacks, large, counts);
                let safe = case.safe().granules;
                let serves: Vec<bool> =
                    (2..=safe).map(|granules| case.failing(granules).is_none()).collect();
                assert!(!serves[0] && serves.is_sorted(), "{slacks:?} {counts:?} {large}");
            }
        }
    }
}

#[test]
fn where_the_total_is_promised_the_safe_pool_holds_too() {
    let cut = cut(4, 0);
    for most in 4..=9 {
        let demands = [demand(2, most.min(5), 0, 3)];
        let sizes: Vec<(u64, u64)> = (2..=most.min(5)).map(|size| (size, 0)).collect();
        let safe = safe::pool_for_maxima(cut, most, 3, &sizes).expect("small");
        let programs = Programs { demands: &demands, total: Some(most), resizes: true };
        for granules in safe.granules..safe.granules + 3 {
            let failing = failing(Rule::Evenfit(cut), &programs, granules, STATES_MAX);
            assert_eq!(failing, Ok(None), "{most}: {safe:?}");
        }
    }
}

#[test]
fn the_adversary_needs_nearly_all_of_the_safe_pool() {
    for (most, count) in [(8, 20), (32, 60), (64, 200), (128, 100)] {
        let demands = [demand(2, most, 0, count)];
        let safe = safe::pool(Cut::STANDARD, &demands).expect("small");
        let needed = adversary::worst(Cut::STANDARD, &demands).granules;
        // All but the granules that blocks may absorb.
        assert_eq!(needed, safe.granules - safe.gaps * safe.absorbed, "{most}");
    }
}

#[test]
fn where_sizes_range_freely_the_bound_is_a_granule_above_what_is_needed_and_the_adversary_comes_near()
 {
    for (most, count) in [(3, 3), (3, 4), (4, 3), (5, 3)] {
        let case =
            Case { cut: Cut::STANDARD, demands: vec![demand(2, most, 0, count)], resizes: false };
        let safe = case.safe();
        assert_eq!(safe.granules, most * count + (count - 1) * most);
        let exact = case.exact();
        assert_eq!(exact.granules, safe.granules - 1);
        let worst = adversary::worst(case.cut, &case.demands);
        assert!(
            worst.granules <= exact.granules && worst.granules + 2 >= exact.granules,
            "{worst:?}"
        );
        // The last step is the one that fails in the pool next smaller.
        assert!(matches!(exact.witness.last(), Some(Step::Alloc { .. })));
    }
}

/// Powers of two up to `largest`, at most `most` granules live.
fn powers(most: u64, largest: u64) -> Vec<Demand> {
    let sizes = (0..).map(|log| 1 << log).take_while(|&size| size <= largest);
    sizes.map(|size| demand(size, size, 0, most / size)).collect()
}

#[test]
fn no_policy_goes_below_robsons_floor() {
    for (most, largest) in [(4, 2), (6, 2), (8, 2), (4, 4), (8, 4)] {
        let demands = powers(most, largest);
        let programs = Programs { demands: &demands, total: Some(most), resizes: false };
        for rule in [Rule::FirstFit, Rule::BestFit, Rule::Buddy] {
            let exact = smallest(rule, &programs, STATES_MAX).unwrap().granules;
            assert!(
                exact >= robson::floor(most, largest),
                "{rule:?}: M {most}, n {largest}: {exact}"
            );
        }
        // evenfit's blocks have two granules at least: the same programs, in twice the granules.
        let twice =
            |demand: &Demand| Demand { min: 2 * demand.min, max: 2 * demand.max, ..*demand };
        let demands: Vec<Demand> = demands.iter().map(twice).collect();
        let programs = Programs { demands: &demands, total: Some(2 * most), resizes: false };
        let exact = smallest(Rule::Evenfit(Cut::STANDARD), &programs, STATES_MAX).unwrap();
        assert!(exact.granules >= 2 * robson::floor(most, largest));
    }
}

#[test]
fn sqlites_use_of_robsons_number_is_unsound() {
    let demands = powers(8, 4);
    let programs = Programs { demands: &demands, total: Some(8), resizes: false };
    let claim = robson::sqlite_claim(8, 4);
    assert_eq!(claim, 13);
    for rule in [Rule::FirstFit, Rule::Buddy] {
        let witness = failing(rule, &programs, claim, STATES_MAX).unwrap();
        assert!(witness.is_some(), "{rule:?} serves every program from {claim}");
        let needed = smallest(rule, &programs, STATES_MAX).unwrap();
        assert_eq!(needed.granules, 16, "{rule:?}");
    }
}

#[test]
fn o1heaps_sizing_formula_is_unsound() {
    // Ten blocks of 64 bytes, with o1heap's overhead on 64-bit machines of 32 bytes: granules of 32
    // bytes here.
    let demands = [demand(2, 2, 0, 10)];
    let programs = Programs { demands: &demands, total: None, resizes: false };
    let claim = robson::o1heap_claim(640, 64, 64, 32) / 32;
    let rule = Rule::HalfFit { header: 1 };
    let witness = failing(rule, &programs, claim, STATES_MAX).unwrap().expect("it fails");
    let served = witness.iter().filter(|step| matches!(step, Step::Alloc { .. })).count() - 1;
    assert_eq!((claim, served), (30, 7));
    assert_eq!(failing(rule, &programs, 40, STATES_MAX).unwrap(), None);
}

#[test]
fn too_many_states_are_refused_not_endured() {
    // Too many states; a pool too long for any search.
    for demands in [demand(2, 8, 0, 8), demand(2, 1 << 40, 0, 2)] {
        let programs = Programs { demands: &[demands], total: None, resizes: true };
        let result = smallest(Rule::Evenfit(Cut::STANDARD), &programs, 1000);
        assert_eq!(result.unwrap_err().states, 1000);
    }
}
