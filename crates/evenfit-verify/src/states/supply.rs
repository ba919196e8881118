//! The free memory that serves a request for a block.

use core::fmt;

use evenfit::{Geometry, Tiers};

use crate::states::lens::{share_bin, word_start};
use crate::states::picks::Picks;
use crate::states::plan::{Plan, Position};

/// What shall serve the request. If something else serves it first, the state is valid too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Hole,
    Exact,
    Rest,
    Top,
    /// A free block that is longer by one granule.
    OneMore,
    Nothing,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hole => "a longer free block",
            Self::Exact => "a free block as long",
            Self::Rest => "the rest",
            Self::Top => "the top",
            Self::OneMore => "a free block longer by a granule",
            Self::Nothing => "nothing",
        })
    }
}

const SOURCES: [Source; 6] =
    [Source::Hole, Source::Exact, Source::Rest, Source::Top, Source::OneMore, Source::Nothing];

/// Lays out free blocks for a request of `len` granules. `None`: this combination is impossible.
pub(crate) fn lay<T: Tiers, G: Geometry>(
    plan: &mut Plan<T, G>,
    picks: &mut Picks,
    len: usize,
) -> Option<()> {
    let long = G::SHORT_END;
    let source = picks.of("served by", &SOURCES);
    let position = match source {
        Source::Hole | Source::Exact | Source::OneMore => {
            picks.of("", &[Position::Only, Position::First])
        }
        _ => Position::Only,
    };
    match source {
        Source::Hole => {
            let next_word = word_start::<G>(1);
            let in_next_word =
                if next_word < G::GRANULES_MAX / 4 { next_word.max(len) } else { 2 * len };
            let lens = [2, 3, 4, 5, long - 1, long, long + 1, 10 * long].map(|more| len + more);
            let [a, b, c, d, e, f, g, h] = lens;
            let hole = picks.of("of granules:", &[in_next_word, a, b, c, d, e, f, g, h]);
            plan.lay_hole(hole, position);
        }
        Source::Exact => plan.lay_hole(len, position),
        Source::OneMore => plan.lay_hole(len + 1, position),
        Source::Rest => {
            let lens = [0, 1, 2, 3, long, 10 * long].map(|more| len + more);
            plan.lay_rest(picks.of("of granules:", &lens))?;
        }
        Source::Top | Source::Nothing => {}
    }
    if source != Source::Rest {
        lay_old_rest(plan, picks, len)?;
    }
    if len > long && share_bin::<G>(len, len - 1) {
        let is_there = picks.of("first of its own bin is too short a free block:", &[true, false]);
        if is_there {
            plan.lay_hole(len - 1, Position::Only);
        }
    }
    Some(())
}

/// A rest that is too short for the request of `len` granules, and that is listed when there is
/// another rest.
fn lay_old_rest<T: Tiers, G: Geometry>(
    plan: &mut Plan<T, G>,
    picks: &mut Picks,
    len: usize,
) -> Option<()> {
    let long = G::SHORT_END;
    let rest = picks.of("a rest of", &[len - 1, 0, 2, long - 1, long + 3, 10 * long]);
    if rest < 2 {
        return Some(());
    }
    if picks.of("and a free block as long:", &[true, false]) {
        plan.lay_hole(rest, Position::Only);
    }
    plan.lay_rest(rest)
}
