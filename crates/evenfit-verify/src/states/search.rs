//! Chooses which states of a family are tried.

use alloc::collections::BTreeMap;

use evenfit::Geometry;

use crate::states::picks::Picks;
use crate::states::probe::Probe;
use crate::states::record::{Counted, Record};
use crate::states::world::Memory;

/// How many states are tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// This many states of each family, picked at random.
    pub samples: u64,
    /// For each operation, this many climbs: from a state picked at random to a worse one by
    /// changing one pick, until no change makes it worse.
    pub climbs: u64,
}

/// Where states are tried, and what is found.
pub(crate) struct Search<'a, P: Probe> {
    pub(crate) record: &'a mut Record<P>,
    pub(crate) memory: Memory,
    effort: Effort,
}

/// How many random states are tried to find one that counts as the operation in question.
const ATTEMPTS: u64 = 40;

impl<'a, P: Probe> Search<'a, P> {
    pub(crate) fn new<G: Geometry>(
        record: &'a mut Record<P>,
        granules: usize,
        effort: Effort,
    ) -> Self {
        Self { record, memory: Memory::new::<G>(granules), effort }
    }

    /// Tries states of a family; `family` builds one from picks, if they go together. Climbs for
    /// each of `operations`. At the end it counts all figures in the worst state of each.
    pub(crate) fn family(
        &mut self,
        name: &'static str,
        operations: &[&'static str],
        mut family: impl FnMut(&mut Self, &mut Picks) -> Option<Counted>,
    ) {
        self.record.begin_family(name);
        let mut worst = Worst::default();
        for seed in 0..self.effort.samples {
            worst.count(self, &mut Picks::random(seed), &mut family);
        }
        for (seed, &operation) in (1..).zip(operations) {
            for start in 0..self.effort.climbs {
                let mut score = |search: &mut Self, picks: &mut Picks| {
                    let counted = worst.count(search, picks, &mut family);
                    let counted = counted.filter(|counted| counted.operation == operation);
                    counted.map_or(0, |counted| counted.instructions)
                };
                self.climb((seed << 32) + start * ATTEMPTS, &mut score);
            }
        }
        self.record.count_all(true);
        for (most, picks) in worst.0.values() {
            let again = family(self, &mut picks.again()).expect("these picks go together");
            assert_eq!(again.instructions, *most, "the same each time, however it is counted");
        }
        self.record.count_all(false);
    }

    /// Climbs from a state picked at random to ones with a higher score, by changing one pick at a
    /// time.
    fn climb(&mut self, seed: u64, score: &mut impl FnMut(&mut Self, &mut Picks) -> u64) {
        let started = (seed..seed + ATTEMPTS).find_map(|seed| {
            let mut picks = Picks::random(seed);
            let most = score(self, &mut picks);
            (most > 0).then_some((picks, most))
        });
        let Some((mut picks, mut most)) = started else {
            return;
        };
        let (mut position, mut unchanged) = (0, 0);
        while unchanged < picks.len() {
            position = (position + 1) % picks.len();
            unchanged += 1;
            let mut best = None;
            for mut other in picks.others(position) {
                let now = score(self, &mut other);
                if now > most {
                    (most, best) = (now, Some(other));
                }
            }
            if let Some(best) = best {
                (picks, unchanged) = (best, 0);
            }
        }
    }
}

/// The worst state of each operation.
#[derive(Default)]
struct Worst(BTreeMap<&'static str, (u64, Picks)>);

impl Worst {
    fn count<'a, P: Probe>(
        &mut self,
        search: &mut Search<'a, P>,
        picks: &mut Picks,
        family: &mut impl FnMut(&mut Search<'a, P>, &mut Picks) -> Option<Counted>,
    ) -> Option<Counted> {
        let counted = family(search, picks)?;
        let (most, worst) = self.0.entry(counted.operation).or_default();
        if counted.instructions > *most {
            (*most, *worst) = (counted.instructions, picks.clone());
        }
        Some(counted)
    }
}
