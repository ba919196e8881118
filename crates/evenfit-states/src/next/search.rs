//! Which states of a family are tried.

use evenfit::next::Geometry;

use super::picks::Picks;
use super::record::{Counted, Record};
use super::world::Memory;
use crate::record::Probe;

/// How many of the states are tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// So many combinations of all picks, one after the other.
    pub combinations: u64,
    /// For each operation, from so many states picked at random, to a worse one by changing one pick, as long as that goes.
    pub climbs: u64,
}

/// Where states are tried, and what is found.
pub(crate) struct Search<'a, P: Probe> {
    pub(crate) record: &'a mut Record<P>,
    pub(crate) memory: Memory,
    effort: Effort,
}

/// How often a state is picked at random until one has the operation in question.
const ATTEMPTS: u64 = 40;

impl<'a, P: Probe> Search<'a, P> {
    pub(crate) fn new<G: Geometry>(
        record: &'a mut Record<P>,
        granules: usize,
        effort: Effort,
    ) -> Self {
        Self {
            record,
            memory: Memory::new::<G>(granules),
            effort,
        }
    }

    /// Tries the states of a family: what `family` makes of some picks, if they go together. Climbs for each of `operations`.
    pub(crate) fn family(
        &mut self,
        operations: &[&'static str],
        mut family: impl FnMut(&mut Self, &mut Picks) -> Option<Counted>,
    ) {
        let mut picks = Some(Picks::first());
        for _ in 0..self.effort.combinations {
            let Some(mut now) = picks else { return };
            family(self, &mut now);
            picks = now.next();
        }
        for (seed, &operation) in (1..).zip(operations) {
            for start in 0..self.effort.climbs {
                self.climb(operation, seed << 32 | start * ATTEMPTS, &mut family);
            }
        }
    }

    fn climb(
        &mut self,
        operation: &'static str,
        seed: u64,
        family: &mut impl FnMut(&mut Self, &mut Picks) -> Option<Counted>,
    ) {
        let mut count = |search: &mut Self, picks: &mut Picks| match family(search, picks) {
            Some(counted) if counted.operation == operation => counted.instructions,
            _ => 0,
        };
        let started = (seed..seed + ATTEMPTS).find_map(|seed| {
            let mut picks = Picks::random(seed);
            let most = count(self, &mut picks);
            (most > 0).then_some((picks, most))
        });
        let Some((mut picks, mut most)) = started else {
            return;
        };
        let (mut position, mut unchanged) = (0, 0);
        while unchanged < picks.len() {
            position = (position + 1) % picks.len();
            unchanged += 1;
            let mut worst = None;
            for mut other in picks.others(position) {
                let now = count(self, &mut other);
                if now > most {
                    (most, worst) = (now, Some(other));
                }
            }
            if let Some(worst) = worst {
                (picks, unchanged) = (worst, 0);
            }
        }
    }
}
