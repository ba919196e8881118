//! The goal that the table stands for, as a test: evenfit refuses every misuse with the pool
//! unchanged and the right error, and no late write leads to harm.

use evenfit::Tiers;
use evenfit_bench::peers;
use evenfit_matrix::case::{Case, MISUSES, Run};
use evenfit_matrix::metadata::{flip_free, flip_metadata};
use evenfit_matrix::outcome::Outcome;

const ERRORS: [&str; MISUSES.len()] = [
    "AlreadyFree",
    "AlreadyFree",
    "AlreadyFree",
    "NotABlock",
    "NotABlock",
    "NotABlock",
    "NotABlock",
    "OutsidePool",
    "OutsidePool",
    "OutsidePool",
    "OutsidePool",
    "WrongLayout",
    "WrongLayout",
    "WrongLayout",
    "WrongLayout",
    "WrongLayout",
];

/// One test for all: the hook that names the error is the process's.
#[test]
fn every_misuse_is_refused_and_no_late_write_does_harm() {
    for peer in ["evenfit-blocks", "evenfit-slabs"] {
        for (number, error) in ERRORS.into_iter().enumerate() {
            let answer = peers::with(peer, &mut Run(Case::Misuse(number)));
            let name = MISUSES[number];
            assert_eq!(answer, Some((Outcome::Refused, error)), "{peer}: {name}");
        }
        for case in Case::all() {
            let (outcome, _) = peers::with(peer, &mut Run(case)).expect("both are known");
            assert!(!outcome.is_harm(), "{peer}: {case:?}: {outcome}");
        }
    }
}

/// Every bit of the map, links and seals; what is not looked at is not relied on.
#[test]
fn check_names_every_flipped_bit() {
    let map = flip_metadata(Tiers::BlocksOnly);
    assert_eq!(map.named, map.flips, "{map:?}");
    for tiers in [Tiers::BlocksOnly, Tiers::WithSlabs] {
        let links = flip_free(tiers, 16);
        assert_eq!(links.named, links.flips, "{links:?}");
    }
    // Descriptors of segments without a slab are not looked at, nor are the links of a full one; but nobody reads these.
    let with_slabs = flip_metadata(Tiers::WithSlabs);
    assert!(with_slabs.named > map.flips, "{with_slabs:?}");
    assert_eq!(with_slabs.missed(), 0, "{with_slabs:?}");
    for tiers in [Tiers::BlocksOnly, Tiers::WithSlabs] {
        let whole = flip_free(tiers, usize::MAX);
        assert_eq!(whole.missed(), 0, "{whole:?}");
    }
}

#[test]
fn every_case_is_found_by_its_name() {
    for case in Case::all() {
        assert_eq!(Case::parse(&case.argument()), Some(case));
    }
    for wrong in ["", "misuse", "misuse=16", "flip=64", "fill=256", "else=1"] {
        assert_eq!(Case::parse(wrong), None);
    }
}
