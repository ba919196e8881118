//! evenfit refuses every misuse of the table with the right error and without changing the pool,
//! and no write to freed memory leads to harm.

use evenfit::{Aligned, BlocksOnly, Compact, Geometry, Standard, Tiers, WithSlabs};
use evenfit_bench::misuse::case::{Case, MISUSES, Run};
use evenfit_bench::misuse::heaps;
use evenfit_bench::misuse::metadata::{flip_free, flip_links, flip_map, flip_metadata};
use evenfit_bench::misuse::outcome::Outcome;

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

/// One test for all cases, since a process has one hook that names the error.
#[test]
fn every_misuse_is_refused_and_no_late_write_does_harm() {
    for peer in ["evenfit-blocks", "evenfit-compact", "evenfit-slabs", "evenfit-aligned"] {
        for (number, error) in ERRORS.into_iter().enumerate() {
            let answer = heaps::with(peer, &mut Run(Case::Misuse(number)));
            let name = MISUSES[number];
            assert_eq!(answer, Some((Outcome::Refused, error)), "{peer}: {name}");
        }
        for case in Case::all() {
            let (outcome, _) = heaps::with(peer, &mut Run(case)).expect("all are known");
            assert!(!outcome.is_harm(), "{peer}: {case:?}: {outcome}");
        }
    }
}

/// `check` names every bit of the map, of links and of lengths. All other bits have no meaning.
fn check_names_every_flipped_bit<T: Tiers, G: Geometry>() {
    let map = flip_map::<T, G>();
    assert!(map.flips > 500 && map.named == map.flips, "{map:?}");
    let links = flip_links::<T, G>();
    assert!(links.flips > 200 && links.named == links.flips, "{links:?}");
    let metadata = flip_metadata::<T, G>();
    assert!(metadata.named > map.named, "{metadata:?}");
    assert_eq!(metadata.missed(), 0, "{metadata:?}");
    let rest = flip_free::<T, G>();
    assert_eq!((rest.named, rest.missed()), (0, 0), "{rest:?}");
}

#[test]
fn check_names_every_flipped_bit_of_blocks() {
    check_names_every_flipped_bit::<BlocksOnly, Standard>();
    check_names_every_flipped_bit::<BlocksOnly, Compact>();
}

#[test]
fn check_names_every_flipped_bit_with_slabs() {
    check_names_every_flipped_bit::<WithSlabs, Standard>();
    check_names_every_flipped_bit::<WithSlabs, Aligned>();
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
