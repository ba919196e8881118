//! Finding the smallest pool that serves a trace, by trying.

use std::ops::Range;

use evenfit_trace::Trace;
use serde::Serialize;

use crate::allocator::{Allocator, Kind, Visit};
use crate::output::InputError;
use crate::progress::Progress;
use crate::region::Region;
use crate::replay::{Checks, Replay, Stop};
use crate::size;

/// Pools are tried in steps of this many bytes.
const STEP: usize = 64;
/// The search ends when the pool that fits is at most this much larger than one that doesn't: 0.5 %.
const TOLERANCE_DIVISOR: usize = 200;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// A pool that serves the trace, in bytes.
    pub fits_bytes: usize,
    /// A pool at most 0.5 % (or 64 bytes) smaller that does not, in bytes.
    pub fails_bytes: usize,
    /// How many replays it took.
    pub replays: u32,
}

/// Bisects the smallest pool in which the allocator of this kind serves `trace`, to 0.5 %.
///
/// A larger pool is not always better for every trace: what is found is a pool that fits beside
/// one that doesn't.
///
/// # Errors
/// No pool that this machine can give, or this allocator can manage, fits.
pub fn smallest_pool(trace: &Trace, kind: Kind) -> Result<Found, InputError> {
    let progress = Progress::new("", trace.events().len() as u64);
    let mut replays = 0;
    let mut fits = |bytes: usize| {
        replays += 1;
        progress.restart(&format!("trying {}", size::human(bytes as u64)));
        fits(trace, kind, bytes, &progress)
    };
    // The metadata alone is not smaller than a step.
    let mut fails_bytes = round_up(trace.info().peak_live_bytes as usize);
    let mut fits_bytes = round_up(fails_bytes + fails_bytes / 20 + 4 * STEP);
    while !fits(fits_bytes)? {
        fails_bytes = fits_bytes;
        fits_bytes = round_up(fits_bytes.saturating_add(fits_bytes / 6));
    }
    while fits_bytes - fails_bytes > STEP.max(fits_bytes / TOLERANCE_DIVISOR) {
        let middle = round_up(fails_bytes + (fits_bytes - fails_bytes) / 2);
        if middle == fits_bytes {
            break;
        }
        if fits(middle)? {
            fits_bytes = middle;
        } else {
            fails_bytes = middle;
        }
    }
    Ok(Found {
        fits_bytes,
        fails_bytes,
        replays,
    })
}

fn round_up(bytes: usize) -> usize {
    bytes
        .checked_next_multiple_of(STEP)
        .unwrap_or(usize::MAX - usize::MAX % STEP)
}

fn fits(trace: &Trace, kind: Kind, bytes: usize, progress: &Progress) -> Result<bool, InputError> {
    struct Try<'a> {
        trace: &'a Trace,
        region: Range<usize>,
        progress: &'a Progress,
    }
    impl Visit for Try<'_> {
        type Output = Result<(), Stop>;

        fn visit<A: Allocator>(self, allocator: A) -> Self::Output {
            Replay::new(self.trace, allocator, self.region, Checks::default())
                .run(|done| self.progress.advance(done))
        }
    }
    let mut memory = Region::new(bytes)?;
    let attempt = Try {
        trace,
        region: memory.addresses(),
        progress,
    };
    match kind.build(memory.bytes(), attempt) {
        Ok(Ok(())) => Ok(true),
        Ok(Err(Stop::OutOfMemory(_))) => Ok(false),
        Ok(Err(Stop::Broken(what))) => Err(InputError(what)),
        Err(evenfit::InitError::RegionTooSmall { .. }) => Ok(false),
        Err(error) => Err(InputError(format!(
            "no pool that {} can manage fits: {error}",
            kind.name()
        ))),
    }
}
