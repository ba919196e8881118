//! Finding the smallest pool that serves a program, to the granule.

use evenfit_trace::{Event, Trace};
use serde::Serialize;

use crate::allocator::Kind;
use crate::drive::{Outcome, drive};
use crate::output::InputError;
use crate::progress::Progress;
use crate::size;

/// Steps in which pools are tried: the smallest granule.
const STEP: usize = 8;

/// A recorded program, perhaps changed.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// What it does, in order: the events of a valid trace.
    pub events: &'a [Event],
    /// How many blocks it allocates in all.
    pub allocations: usize,
    /// The most bytes that it has asked for and not given back.
    pub peak_bytes: usize,
}

impl<'a> Program<'a> {
    /// A recorded one, as it was.
    pub fn of(trace: &'a Trace) -> Self {
        Self {
            events: trace.events(),
            allocations: trace.allocations() as usize,
            peak_bytes: trace.info().peak_live_bytes as usize,
        }
    }
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// A pool that serves the program, in bytes.
    pub fits_bytes: usize,
    /// A pool at most 8 bytes smaller that does not, in bytes.
    pub fails_bytes: usize,
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

/// The pool in which the program surely runs, seen by running it in one with room to spare: as far as it reached.
/// `None`: this kind can't manage a pool so large.
///
/// # Errors
/// The machine can't give the memory, or the allocator is wrong.
pub fn reach(kind: Kind, program: Program) -> Result<Option<usize>, InputError> {
    let mut pool = round_up(program.peak_bytes + program.peak_bytes / 2 + (16 << 10));
    loop {
        let Some(outcome) = drive(kind, program.events, program.allocations, pool, &mut ())? else {
            return Ok(None);
        };
        if outcome.done == program.events.len() {
            return Ok(Some(outcome.reach_bytes));
        }
        pool = round_up(pool * 2);
    }
}

/// Finds the smallest pool: from a guess by doubling steps to a pool that fits beside one that doesn't, then by halving.
/// A larger pool is not always better for every program: what is found is a pool that fits beside one that doesn't.
///
/// `trying` is told of each pool that is tried. `None`: this kind can't manage a pool so large.
///
/// # Errors
/// The machine can't give the memory, or the allocator is wrong.
pub fn smallest(
    kind: Kind,
    program: Program,
    trying: impl Fn(usize),
) -> Result<Option<Found>, InputError> {
    let mut replays = 0;
    let mut fits = |bytes: usize| -> Result<Option<bool>, InputError> {
        replays += 1;
        trying(bytes);
        let outcome: Option<Outcome> =
            drive(kind, program.events, program.allocations, bytes, &mut ())?;
        // A region too small for any pool serves not even a program that asks for nothing.
        Ok(outcome.map(|outcome| outcome.pool_bytes > 0 && outcome.done == program.events.len()))
    };
    let guess = match reach(kind, program)? {
        Some(reach) => round_up(reach),
        None => round_up(program.peak_bytes),
    };
    let Some(fit) = fits(guess)? else {
        return Ok(None);
    };
    let (mut fitting, mut failing) = (guess, guess);
    let mut step = STEP;
    if fit {
        while fitting > step {
            failing = fitting - step;
            match fits(failing)? {
                Some(true) => fitting = failing,
                _ => break,
            }
            step *= 2;
        }
    } else {
        loop {
            fitting = failing + step;
            match fits(fitting)? {
                Some(true) => break,
                Some(false) => failing = fitting,
                None => return Ok(None),
            }
            step *= 2;
        }
    }
    while fitting - failing > STEP {
        let middle = round_up(failing + (fitting - failing) / 2);
        match fits(middle)? {
            Some(true) => fitting = middle,
            _ => failing = middle,
        }
    }
    Ok(Some(Found {
        fits_bytes: fitting,
        fails_bytes: failing,
        replays,
    }))
}

fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of(STEP).max(STEP)
}
