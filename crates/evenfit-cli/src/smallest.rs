//! Finds the smallest pool that serves a program, to the granule, and the size from which on every
//! pool serves it.
//!
//! A program may fail in a longer pool than one that serves it. A request that finds the unused end
//! of the pool too short may still be served, by a move or from a longer hole, and from then on
//! blocks have other addresses. So from a pool that serves and a shorter one that fails, nothing
//! follows for a third. But if no request finds the end too short, the run is the same in every
//! longer pool, as long as aligned blocks fall alike.

use evenfit::{Auto, Tiers};
use evenfit_bound::Cut;
use evenfit_trace::Trace;
use schemars::JsonSchema;
use serde::Serialize;

use crate::allocator::Kind;
use crate::drive::{Outcome, Program, drive, drive_from};
use crate::output::InputError;
use crate::progress::Progress;
use crate::size;

/// Steps in which pools are tried: the smallest granule.
const STEP: usize = 8;
/// Pools that are tried between the smallest found and the one from which on every one serves.
const BETWEEN: usize = 8;
/// Beginnings of the pool that are tried, where alignments make them differ.
const STARTS_MAX: usize = 16;
/// A slab, the longest block that a small request may ask the pool for, in bytes, and room to
/// spare.
const SLAB_BYTES: usize = 4096;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Found {
    /// A pool that serves the program, in bytes. So did each longer one that was tried.
    pub smallest_region_bytes: usize,
    /// A pool 8 bytes smaller that does not, in bytes.
    pub fails_region_bytes: usize,
    /// Every pool of at least this many bytes serves it, if that is known.
    pub always_region_bytes: Option<usize>,
    /// How many replays it took.
    pub replays: u32,
}

/// Finds the smallest pool in which the allocator of this kind serves `trace`.
///
/// # Errors
/// No pool that this machine can give, or this allocator can manage, fits.
pub fn smallest_pool(trace: &Trace, kind: Kind) -> Result<Found, InputError> {
    let progress = Progress::new("", trace.events().len() as u64);
    let found = smallest(kind, Program::of(trace), |bytes| {
        progress.restart(&format!("trying {}", size::human(bytes as u64)));
    })?;
    found.ok_or_else(|| InputError(format!("no pool that {} can manage serves it", kind.name())))
}

/// How much of the pool the program reaches where nothing is short, if the pool begins so far
/// behind a page: it runs in one with more room behind than it ever asks for. `None`: this kind
/// can't manage a pool of that size.
fn reach(kind: Kind, program: Program, skip_bytes: usize) -> Result<Option<usize>, InputError> {
    let room = program.longest_bytes().max(SLAB_BYTES) + SLAB_BYTES;
    let mut bytes = round_up(program.peak_bytes + program.peak_bytes / 2 + room);
    loop {
        let outcome = drive_from(kind, program, bytes, skip_bytes, &mut ())?;
        let Some(outcome) = outcome else {
            return Ok(None);
        };
        let is_short = outcome.reach_bytes + room > outcome.pool_bytes;
        if outcome.done == program.events.len() && !is_short {
            return Ok(Some(outcome.reach_bytes));
        }
        bytes = round_up(bytes * 2);
    }
}

/// The pool from which on every one serves the program, wherever it begins at a multiple of what
/// all blocks are aligned to. `None`: that isn't known, since the program asks for so high
/// alignments that there are more than 16 ways for them to fall, or since the allocator doesn't
/// take the pool's end last.
///
/// # Errors
/// The machine can't give the memory, or the allocator is wrong.
pub fn always(kind: Kind, program: Program) -> Result<Option<usize>, InputError> {
    let cut = match kind {
        Kind::Compact => Cut::COMPACT,
        _ => program.cut,
    };
    let all_aligned = (cut.granule_bytes * cut.align_granules) as usize;
    let align_bytes = program.align_bytes().max(all_aligned);
    let starts = align_bytes / all_aligned;
    if kind == Kind::FirstFit || starts > STARTS_MAX {
        return Ok(None);
    }
    if kind == Kind::Heap {
        // Blocks only up to some length, slabs from there on.
        let slabs_from = Auto::SLABS_REGION_BYTES_MIN;
        let with_slabs = always(Kind::Slabs, program)?;
        if with_slabs.is_none_or(|bytes| bytes > slabs_from) {
            return Ok(with_slabs);
        }
        let blocks_only = always(Kind::Blocks, program)?;
        return Ok(blocks_only.map(|bytes| bytes.min(slabs_from)));
    }
    // A search for an aligned block looks for a longer one first.
    let longer_bytes = if starts > 1 { align_bytes + all_aligned } else { 0 };
    let mut reach_bytes = 0;
    for start in 0..starts {
        let Some(reach) = reach(kind, program, start * all_aligned)? else {
            return Ok(None);
        };
        reach_bytes = reach_bytes.max(reach + longer_bytes);
    }
    Ok(kind.region_bytes(program.cut, reach_bytes).map(round_up))
}

/// A pool that serves the program, seen by running it in longer ones only. Where that isn't sure,
/// it may lack a little. `None`: this kind can't manage a pool of that size.
///
/// # Errors
/// As for [`always`].
pub fn enough(kind: Kind, program: Program) -> Result<Option<usize>, InputError> {
    if let Some(bytes) = always(kind, program)? {
        return Ok(Some(bytes));
    }
    let reach_bytes = reach(kind, program, 0)?;
    Ok(reach_bytes.and_then(|bytes| kind.region_bytes(program.cut, bytes)).map(round_up))
}

/// Finds the smallest pool: first in doubling steps from one that serves to one that fails, then by
/// halving. Then a few pools between are tried too; if one fails, the smallest lies above it.
///
/// `trying` is called for each pool that is tried, at most about 70 times. `None`: this kind can't
/// manage a pool of that size.
///
/// # Errors
/// The machine can't give the memory, or the allocator is wrong.
pub fn smallest(
    kind: Kind,
    program: Program,
    trying: impl Fn(usize),
) -> Result<Option<Found>, InputError> {
    let always_region_bytes = always(kind, program)?;
    let guess = match always_region_bytes {
        Some(bytes) => bytes,
        None => enough(kind, program)?.unwrap_or(round_up(program.peak_bytes)),
    };
    let serves = |bytes: usize| {
        trying(bytes);
        let outcome: Option<Outcome> = drive(kind, program, bytes, &mut ())?;
        // A region too small for any pool serves not even a program that asks for nothing.
        Ok(outcome.map(|outcome| outcome.pool_bytes > 0 && outcome.done == program.events.len()))
    };
    let mut search = Search { serves, replays: 0 };
    let Some(mut edge) = search.edge_near(guess)? else {
        return Ok(None);
    };
    search.halve(&mut edge)?;
    if let Some(always_region_bytes) = always_region_bytes {
        search.look_between(&mut edge, always_region_bytes)?;
    }
    Ok(Some(Found {
        smallest_region_bytes: edge.fitting,
        fails_region_bytes: edge.failing,
        always_region_bytes,
        replays: search.replays,
    }))
}

/// A pool that serves, and a smaller one that fails. Each longer one that was tried serves.
struct Edge {
    fitting: usize,
    failing: usize,
}

/// A search for an edge.
struct Search<F> {
    /// Whether a pool of this many bytes serves; `None`: it is longer than the allocator can
    /// manage.
    serves: F,
    replays: u32,
}

impl<F: Fn(usize) -> Result<Option<bool>, InputError>> Search<F> {
    fn fits(&mut self, bytes: usize) -> Result<Option<bool>, InputError> {
        self.replays += 1;
        (self.serves)(bytes)
    }

    /// By doubling steps, down or up.
    fn edge_near(&mut self, guess: usize) -> Result<Option<Edge>, InputError> {
        let Some(fits) = self.fits(guess)? else {
            return Ok(None);
        };
        let mut edge = Edge { fitting: guess, failing: guess };
        let mut step = STEP;
        if fits {
            while edge.fitting > step {
                edge.failing = edge.fitting - step;
                match self.fits(edge.failing)? {
                    Some(true) => edge.fitting = edge.failing,
                    _ => break,
                }
                step *= 2;
            }
            return Ok(Some(edge));
        }
        loop {
            edge.fitting = edge.failing + step;
            match self.fits(edge.fitting)? {
                Some(true) => return Ok(Some(edge)),
                Some(false) => edge.failing = edge.fitting,
                None => return Ok(None),
            }
            step *= 2;
        }
    }

    fn halve(&mut self, edge: &mut Edge) -> Result<(), InputError> {
        while edge.fitting - edge.failing > STEP {
            let middle = round_up(edge.failing + (edge.fitting - edge.failing) / 2);
            match self.fits(middle)? {
                Some(true) => edge.fitting = middle,
                _ => edge.failing = middle,
            }
        }
        Ok(())
    }

    /// Tries some pools between the smallest and `always_region_bytes`, the longest first.
    fn look_between(
        &mut self,
        edge: &mut Edge,
        always_region_bytes: usize,
    ) -> Result<(), InputError> {
        let steps = always_region_bytes.saturating_sub(edge.fitting) / STEP;
        let tried = BETWEEN.min(steps.saturating_sub(1));
        let mut serves = always_region_bytes;
        for part in (1..=tried).rev() {
            let bytes = edge.fitting + steps * part / (tried + 1) * STEP;
            if self.fits(bytes)? != Some(true) {
                *edge = Edge { fitting: serves, failing: bytes };
                return self.halve(edge);
            }
            serves = bytes;
        }
        Ok(())
    }
}

fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of(STEP).max(STEP)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Searches where pools serve by `serves`, and surely from `always_region_bytes` on: the edge,
    /// and every pool tried.
    fn search(always_region_bytes: usize, serves: impl Fn(usize) -> bool) -> (Edge, Vec<usize>) {
        let tried = RefCell::new(Vec::new());
        let serves = |bytes: usize| {
            tried.borrow_mut().push(bytes);
            Ok(Some(serves(bytes)))
        };
        let mut search = Search { serves, replays: 0 };
        let mut edge = search.edge_near(always_region_bytes).unwrap().unwrap();
        search.halve(&mut edge).unwrap();
        search.look_between(&mut edge, always_region_bytes).unwrap();
        (edge, tried.into_inner())
    }

    #[test]
    fn whatever_pools_fail_the_smallest_serves_as_all_longer_ones_tried_and_8_bytes_less_fail() {
        let mut raised = 0;
        for seed in 0..300_u64 {
            // Between 1,000 and 9,000 bytes, stretches of a few hundred bytes serve or fail by
            // chance.
            let by_chance = |bytes: usize| {
                let stretch = bytes as u64 / 300;
                let mixed = (stretch ^ seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                mixed >> 61 > seed % 8
            };
            let serves = |bytes: usize| bytes >= 1_000 && (bytes >= 9_000 || by_chance(bytes));
            let (edge, tried) = search(9_000, serves);
            assert!(serves(edge.fitting) && !serves(edge.failing));
            assert_eq!(edge.fitting - edge.failing, STEP);
            let longer = tried.iter().filter(|&&bytes| bytes > edge.fitting);
            assert!(longer.clone().all(|&bytes| serves(bytes)));
            assert!(tried.len() < 50, "{}", tried.len());
            let first = tried.iter().take_while(|&&bytes| serves(bytes)).last();
            raised += u32::from(first.is_some_and(|&first| first < edge.fitting));
        }
        assert!(raised > 10, "{raised}");
    }

    #[test]
    fn where_pools_serve_from_one_length_on_that_is_found() {
        for (least, always) in [(8, 8), (1_000, 1_000), (1_000, 1_008), (1_000, 9_000)] {
            let (edge, _) = search(always, |bytes| bytes >= least);
            assert_eq!(edge.fitting, least);
        }
    }
}
