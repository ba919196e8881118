//! The smallest pool, to the granule.

use evenfit_trace::Event;

use crate::allocator::Kind;
use crate::drive::{Outcome, drive};
use crate::output::InputError;

/// Steps in which pools are tried: the smallest granule.
const STEP: usize = 8;

/// A recorded program, perhaps changed.
#[derive(Clone, Copy)]
pub(super) struct Program<'a> {
    pub(super) events: &'a [Event],
    pub(super) allocations: usize,
    pub(super) peak_bytes: usize,
}

/// A search's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Smallest {
    /// This pool serves the program, and one of a step less doesn't.
    pub(super) bytes: usize,
    pub(super) replays: u32,
}

/// The pool in which the program surely runs, seen by running it in one with room to spare: as far as it reached.
/// `None`: this kind can't manage a pool so large.
pub(super) fn reach(kind: Kind, program: Program) -> Result<Option<usize>, InputError> {
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
/// `tick` is told of each replay. `None`: this kind can't manage a pool so large.
pub(super) fn smallest(
    kind: Kind,
    program: Program,
    tick: impl Fn(),
) -> Result<Option<Smallest>, InputError> {
    let mut replays = 0;
    let mut fits = |bytes: usize| -> Result<Option<bool>, InputError> {
        replays += 1;
        let outcome: Option<Outcome> =
            drive(kind, program.events, program.allocations, bytes, &mut ())?;
        tick();
        Ok(outcome.map(|outcome| outcome.done == program.events.len()))
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
    Ok(Some(Smallest {
        bytes: fitting,
        replays,
    }))
}

fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of(STEP).max(STEP)
}
